// The answer, the dock, the keyboard, the theme; then the whole page is built.

function showAnswer() {
  const { dataset, selection, answer } = content;
  byId("brand").textContent = dataset.name;
  byId("over").textContent = [dataset.name, dataset.version, selection.name].filter(Boolean).join(" · ");
  byId("headline").textContent = answer.headline;
  byId("answer-lines").replaceChildren(...answer.lines.map((line) => make("li", {}, line)));
  const others = answer.others ?? [];
  byId("others").hidden = !others.length;
  byId("others-title").textContent = `${counted(others.length, "other answer")} from the same trials`;
  byId("others-lines").replaceChildren(...others.map((line) => make("li", {}, line)));
  const figures = {
    "training images": count(dataset.num_train),
    kept: count(selection.num_kept),
    pruned: count(selection.num_pruned),
    "share pruned": shortPercent(selection.num_pruned / dataset.num_train),
    groups: count(groups.start.length),
    ...(dataset.num_test ? { "test images": count(dataset.num_test) } : {}),
  };
  byId("figures").replaceChildren(
    ...Object.entries(figures).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
}

function showCounts() {
  byId("counts").textContent = `${count(marks.size("keep"))} keep, ${count(marks.size("drop"))} drop`;
  byId("undo").disabled = !marks.canUndo();
}

function saveVeto() {
  const url = URL.createObjectURL(new Blob([`${JSON.stringify(marks.toVeto(), null, 1)}\n`], { type: "application/json" }));
  make("a", { href: url, download: "veto.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  status("Saved among your downloads. Next: add --veto=PATH/veto.json to your data-redundancy select command");
}

async function loadVeto(file) {
  try {
    const veto = marks.load(await file.text(), normalEntry);
    const other = veto.selection === content.selection.name ? "" : ` It was made for ${veto.selection}.`;
    status(`Loaded ${file.name}.${other}`);
  } catch (error) {
    status(`${file.name} was not loaded: ${error.message}.`);
  }
}

function listenToDock() {
  byId("mark-keep").addEventListener("click", () => chosen.mark("keep"));
  byId("mark-drop").addEventListener("click", () => chosen.mark("drop"));
  byId("mark-none").addEventListener("click", () => chosen.mark(null));
  byId("undo").addEventListener("click", marks.undo);
  byId("save").addEventListener("click", saveVeto);
  byId("load").addEventListener("click", () => byId("load-file").click());
  byId("load-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) await loadVeto(file);
    event.target.value = "";  // so that the same file can be chosen again
  });
}

const KEYS = {
  ArrowLeft: () => gallery.move(-1),
  ArrowRight: () => gallery.move(1),
  ArrowUp: () => gallery.moveGroup(-1),
  ArrowDown: () => gallery.moveGroup(1),
  n: () => gallery.turn(1),
  p: () => gallery.turn(-1),
  k: () => chosen.mark("keep"),
  d: () => chosen.mark("drop"),
  u: () => chosen.mark(null),
  Escape: () => chosen.row() != null && chosen.mark(null),
  z: marks.undo,
  "/": () => byId("search").focus(),
  "?": () => byId("help").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (event.target.closest("input:not([type=checkbox]), select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // Outside of the gallery, arrow keys scroll.
  const scrolls = key.startsWith("Arrow") && !event.target.closest("#cards .tile");
  if (!Object.hasOwn(KEYS, key) || scrolls) return;
  event.preventDefault();
  KEYS[key]();
}

/** Saves the theme in both stores: the head cannot wait for IndexedDB, and localStorage may be empty after a reload (see store.js). */
function keepTheme(theme) {
  try {
    localStorage.setItem("data_redundancy theme", theme);
  } catch { /* storage may be forbidden */ }
  store.write("theme", theme).catch(() => { /* the theme then lasts until the page is closed */ });
}

function listenToTheme() {
  const button = byId("theme"), root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => button.setAttribute("aria-pressed", isDark());
  const change = (theme) => {
    root.dataset.theme = theme;
    show();
    if (content.map) embeddingMap.redraw();
  };
  button.addEventListener("click", () => {
    change(isDark() ? "light" : "dark");
    keepTheme(root.dataset.theme);
  });
  system.addEventListener("change", show);
  show();
  store.read("theme").then((theme) => theme && !root.dataset.theme && change(theme), () => { /* no theme is stored */ });
}

showAnswer();
accuracyChart();
classBars(gallery.showClass);
heightChart();
warningsPanel();
embeddingMap.build();
gallery.build();
listenToTheme();
listenToDock();
marks.onChange(showCounts);
showCounts();
document.addEventListener("keydown", onKey);
byId("help-open").addEventListener("click", () => byId("help").showModal());
