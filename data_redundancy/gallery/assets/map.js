// The embedding map: a canvas, since it may have a hundred thousand points. Kept images are discs, pruned ones rings.

const embeddingMap = (() => {
  const NAMED = 10;  // classes with colours of the style sheet; further colours are computed
  const REACH = 12;  // pixels
  const canvas = byId("map-canvas"), frameElement = byId("map-frame"), tip = byId("map-tip");
  const view = { zoom: 1, x: 0, y: 0 };  // x and y: the offset of the centre, in pixels
  let points, width = 0, height = 0, onlyLabel = null, cells = new Map(), scheduled = false;

  function cssColour(label) {
    if (content.dataset.class_names.length <= NAMED) return `var(--class-${label})`;
    const hue = (label * 137.508) % 360, light = [38, 50, 30][label % 3];
    return `light-dark(hsl(${hue} 65% ${light}%), hsl(${hue} 60% ${light + 24}%))`;
  }

  /** Returns a colour as the canvas understands it, in the current theme. */
  function resolved(colour) {
    frameElement.style.color = colour;
    return getComputedStyle(frameElement).color;
  }

  function stamp(colour, kept, radius, ratio) {
    const size = Math.ceil((2 * radius + 3) * ratio), image = new OffscreenCanvas(size, size);
    const context = image.getContext("2d");
    context.scale(ratio, ratio);
    context.beginPath();
    context.arc(size / ratio / 2, size / ratio / 2, kept ? radius : radius + 0.4, 0, 2 * Math.PI);
    context.fillStyle = context.strokeStyle = colour;
    context.lineWidth = Math.max(1, radius * 0.45);
    if (kept) context.fill();
    else context.stroke();
    return image;
  }

  function place(i) {
    const unit = Math.min((width - 40) / points.spanX, (height - 40) / points.spanY) * view.zoom;
    return [
      width / 2 + view.x + (points.x[i] - points.middleX) * unit,
      height / 2 + view.y - (points.y[i] - points.middleY) * unit,
    ];
  }

  function shown(i) {
    if (onlyLabel != null && points.label[i] !== onlyLabel) return false;
    return byId(points.kept[i] ? "map-kept" : "map-pruned").checked;
  }

  function draw() {
    scheduled = false;
    const ratio = window.devicePixelRatio || 1, context = canvas.getContext("2d");
    const radius = points.order.length * (width < 600 ? 4 : 1) < 3000 ? 4 : points.order.length < 20000 ? 2.6 : 1.9;
    const stamps = new Map();
    const stampOf = (label, kept) => {
      const key = 2 * label + kept;
      if (!stamps.has(key)) stamps.set(key, stamp(resolved(cssColour(label)), kept, radius, ratio));
      return stamps.get(key);
    };
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    cells = new Map();
    for (const i of points.order) {
      if (!shown(i)) continue;
      const [x, y] = place(i);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      const image = stampOf(points.label[i], points.kept[i]);
      context.drawImage(image, Math.round(x * ratio - image.width / 2), Math.round(y * ratio - image.height / 2));
      const cell = cellOf(x, y);
      if (cells.has(cell)) cells.get(cell).push(i);
      else cells.set(cell, [i]);
    }
  }

  function redraw() {
    if (!scheduled && width) requestAnimationFrame(draw);
    scheduled = width > 0;
  }

  const cellOf = (x, y) => Math.floor(y / REACH) * 10000 + Math.floor(x / REACH);

  /** Returns the drawn point nearest to a position, within REACH, or null. */
  function nearest(x, y) {
    let best = null, least = REACH ** 2;
    for (const dy of [-REACH, 0, REACH]) {
      for (const dx of [-REACH, 0, REACH]) {
        for (const i of cells.get(cellOf(x + dx, y + dy)) ?? []) {
          const [px, py] = place(i), far = (px - x) ** 2 + (py - y) ** 2;
          if (far < least) [best, least] = [i, far];
        }
      }
    }
    return best;
  }

  function showTip(i) {
    if (i == null) {
      tip.hidden = true;
      return;
    }
    const row = points.image[i], [x, y] = place(i);
    const name = row < 0 ? null : images.file[row] ?? images.id[row];
    tip.replaceChildren(
      ...(row < 0 ? [] : [thumbnail(row)]),
      make("div", {},
        make("strong", {}, className(points.label[i])),
        make("span", {}, `#${points.index[i]}, ${points.kept[i] ? "kept" : "pruned"}`),
        make("span", { class: "name" }, name ?? "")),
    );
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(x + 14, width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, height - tip.offsetHeight - 4))}px`;
  }

  function zoom(factor) {
    view.zoom = Math.min(64, Math.max(1, view.zoom * factor));
    const kept = view.zoom === 1 ? 0 : factor;
    view.x *= kept;
    view.y *= kept;
    canvas.classList.toggle("zoomed", view.zoom > 1);
    redraw();
  }

  function listen() {
    let dragged = null;
    canvas.addEventListener("pointerdown", (event) => {
      dragged = { x: event.clientX - view.x, y: event.clientY - view.y, moved: false };
      if (view.zoom > 1) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (dragged && view.zoom > 1 && event.buttons) {
        dragged.moved ||= Math.hypot(event.movementX, event.movementY) > 1;
        [view.x, view.y] = [event.clientX - dragged.x, event.clientY - dragged.y];
        showTip(null);
        redraw();
      } else showTip(nearest(event.offsetX, event.offsetY));
    });
    canvas.addEventListener("pointerup", (event) => {
      const i = dragged?.moved ? null : nearest(event.offsetX, event.offsetY);
      dragged = null;
      showTip(i);
      if (i != null && points.image[i] >= 0) chosen.choose(points.image[i]);
    });
    canvas.addEventListener("pointerleave", () => showTip(null));
    byId("map-in").addEventListener("click", () => zoom(1.6));
    byId("map-out").addEventListener("click", () => zoom(1 / 1.6));
    byId("map-reset").addEventListener("click", () => zoom(0));
    for (const id of ["map-kept", "map-pruned"]) byId(id).addEventListener("change", redraw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  function legend() {
    const labels = [...new Set(points.label)].sort((a, b) => a - b);
    const buttons = labels.map((label) => {
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = cssColour(label);
      const button = make("button", { type: "button", class: "quiet", "aria-pressed": "false" }, swatch, className(label));
      button.addEventListener("click", () => {
        onlyLabel = onlyLabel === label ? null : label;
        buttons.forEach((other) => other.setAttribute("aria-pressed", other === button && onlyLabel != null));
        redraw();
      });
      return button;
    });
    byId("map-legend").replaceChildren(...buttons.map((button) => make("li", {}, button)));
  }

  function prepare(map) {
    const finite = range(map.x.length).filter((i) => map.x[i] != null && map.y[i] != null);
    const [left, right] = extent(finite.map((i) => map.x[i])), [low, high] = extent(finite.map((i) => map.y[i]));
    return {
      ...map,
      order: finite.sort((a, b) => map.kept[b] - map.kept[a] || a - b),  // pruned ones on top
      middleX: (left + right) / 2,
      middleY: (low + high) / 2,
      spanX: right - left || 1,
      spanY: high - low || 1,
    };
  }

  function build() {
    if (!content.map) {
      byId("map").hidden = byId("map-link").hidden = true;
      return;
    }
    points = prepare(content.map);
    const pruned = points.order.filter((i) => !points.kept[i]).length;
    byId("map-note").textContent = [`${content.map.method} of the embeddings, coloured by class.`, content.map.note].join(" ");
    canvas.setAttribute("aria-label",
      `Map of ${count(points.order.length)} training images by ${content.map.method}; ${count(pruned)} of them pruned`);
    legend();
    listen();
    onWidth(frameElement, (now) => {
      width = now;
      height = Math.round(Math.min(640, Math.max(280, now * 0.62)));
      canvas.style.height = `${height}px`;
      redraw();
    });
  }

  return { build, redraw };
})();
