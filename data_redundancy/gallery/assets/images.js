// Images by row: their data, their thumbnails, the tiles that show them, and the chosen image.

const images = content.images;
const groups = content.groups;
const TRAIN = 0;
const KEPT = 1, PRUNED = 2;

/** By row: KEPT for a group's representative, PRUNED for the others, 0 for images outside the groups. */
const role = new Uint8Array(images.index.length);
groups.start.forEach((start, g) => role.fill(PRUNED, start, start + groups.size[g]).fill(KEPT, start, start + 1));

const isTrain = (row) => images.split[row] === TRAIN;
const entryOf = (row) => images.id[row] ?? images.index[row];
const markOf = (row) => (isTrain(row) ? marks.of(entryOf(row)) : null);

/** Returns an entry as this page writes it: the id of an image instead of its index, if it has an id. */
const normalEntry = (() => {
  let ids;
  return (entry) => {
    ids ??= new Map(range(images.index.length).filter(isTrain).map((row) => [images.index[row], entryOf(row)]));
    return ids.get(entry) ?? entry;
  };
})();

function roleText(row) {
  if (!isTrain(row)) return "test image";
  return ["training image", "representative, kept", "redundant, pruned"][role[row]];
}

function describe(row) {
  const parts = [`Image ${images.index[row]}`, className(images.label[row]), roleText(row)];
  if (role[row] === PRUNED) parts.push(`distance ${distanceText(images.distance[row])}`);
  const mark = markOf(row);
  if (mark) parts.push(`marked ${mark}`);
  return parts.join(", ");
}

const thumbnails = (() => {
  const { width, height, columns, rows, sheets } = content.thumbnails;
  const CACHED = 64;
  const cache = new Map();
  const root = document.documentElement;
  // Small images are enlarged by integer factors, so that all of their pixels have the same size.
  const scale = Math.max(1, Math.round(72 / Math.max(width, height)));
  const shrink = Math.min(1, 112 / Math.max(width, height));
  root.style.setProperty("--thumb-width", `${Math.round(width * scale * shrink)}px`);
  root.style.setProperty("--thumb-height", `${Math.round(height * scale * shrink)}px`);
  root.classList.toggle("pixels", scale > 1);
  root.classList.toggle("no-images", !sheets.length);

  function sheet(number) {
    let image = cache.get(number);
    cache.delete(number);
    image ??= fetched(sheets[number]);
    cache.set(number, image);
    if (cache.size > CACHED) cache.delete(cache.keys().next().value);
    return image;
  }

  async function fetched(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    return image;
  }

  async function draw(canvas, row) {
    if (!sheets.length) return;
    const perSheet = columns * rows, cell = row % perSheet;
    canvas.width = width;
    canvas.height = height;
    canvas.dataset.of = row;
    try {
      const image = await sheet(Math.floor(row / perSheet));
      if (canvas.dataset.of !== String(row)) return;  // the canvas shows another image by now
      const x = (cell % columns) * width, y = Math.floor(cell / columns) * height;
      canvas.getContext("2d").drawImage(image, x, y, width, height, 0, 0, width, height);
      canvas.dataset.drawn = "";
    } catch {
      byId("thumbnails-missing").hidden = false;
    }
  }

  return { draw, some: sheets.length > 0 };
})();

function thumbnail(row) {
  const canvas = make("canvas", { class: "thumb", "aria-hidden": "true" });
  thumbnails.draw(canvas, row);
  return canvas;
}

const chosen = (() => {
  let row = null;

  function show() {
    const none = row == null || !isTrain(row);
    const mark = none ? null : markOf(row);
    byId("mark-keep").disabled = none || mark === "keep";
    byId("mark-drop").disabled = none || mark === "drop";
    byId("mark-none").disabled = none || mark == null;
    if (row == null) return;
    const name = images.file[row] ?? images.id[row];
    byId("chosen-text").replaceChildren(
      make("strong", {}, describe(row)),
      make("span", { class: "name" }, isTrain(row) ? name ?? "" : "Only training images can be kept or dropped."),
    );
  }

  function choose(next) {
    row = next;
    byId("dock").dataset.chosen = "";
    byId("chosen-image").hidden = false;
    thumbnails.draw(byId("chosen-image"), row);
    for (const tile of document.querySelectorAll(".tile[aria-current]")) tile.removeAttribute("aria-current");
    for (const tile of document.querySelectorAll(`.tile[data-row="${row}"]`)) tile.setAttribute("aria-current", "true");
    show();
  }

  function mark(value) {
    if (row == null) status("Choose an image first.");
    else if (!isTrain(row)) status("Only training images can be kept or dropped.");
    else marks.set(entryOf(row), value);
  }

  return { choose, mark, show, row: () => row };
})();

function refreshTile(tile) {
  const row = Number(tile.dataset.row), mark = markOf(row);
  tile.setAttribute("aria-label", describe(row));
  if (mark) tile.dataset.mark = mark;
  else delete tile.dataset.mark;
}

/** Returns a button that shows an image and chooses it. */
function imageTile(row, caption, attributes = {}) {
  const tile = make(
    "button",
    {
      type: "button",
      class: "tile",
      "data-row": row,
      title: images.file[row] ?? images.id[row],
      "aria-current": chosen.row() === row && "true",
      onclick: () => tile.focus(),
      onfocus: () => chosen.choose(row),
      ...attributes,
    },
    thumbnail(row),
    make("span", { class: "caption" }, caption),
  );
  refreshTile(tile);
  return tile;
}

marks.onChange(() => {
  document.querySelectorAll(".tile").forEach(refreshTile);
  chosen.show();
});
