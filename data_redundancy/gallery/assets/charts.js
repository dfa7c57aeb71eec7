// Charts: accuracy against share pruned, share pruned per class, merge heights.

/** Returns round numbers that divide [low, high] into about n parts. */
function niceTicks(low, high, n) {
  const raw = (high - low) / n || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return range(Math.floor(high / step + 1e-9) - first + 1).map((i) => (first + i) * step);
}

/** Returns the fewest decimals, at most `most`, that show every tick exactly. */
function decimals(ticks, most) {
  const exact = (n) => ticks.every((tick) => Math.abs(Number(tick.toFixed(n)) - tick) < 1e-9 * Math.max(1, Math.abs(tick)));
  return range(most).find(exact) ?? most;
}

/** Returns an SVG with axes, and its two scales; `axes` has x and y as {domain, ticks, format, title}. */
function frame(width, axes, label) {
  const height = Math.round(Math.min(360, Math.max(240, width * 0.45)));
  const longest = Math.max(...axes.y.ticks.map((tick) => axes.y.format(tick).length));
  const margin = { left: Math.max(58, 30 + 7 * longest), right: 16, top: 14, bottom: 46 };
  const right = width - margin.right, bottom = height - margin.bottom;
  const scale = ([low, high], from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  const x = scale(axes.x.domain, margin.left, right), y = scale(axes.y.domain, bottom, margin.top);
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const tick of axes.y.ticks) {
    root.append(
      svg("line", { class: "grid", x1: margin.left, x2: right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: margin.left - 8, y: y(tick) + 4, "text-anchor": "end" }, axes.y.format(tick)),
    );
  }
  root.append(svg("line", { class: "axis", x1: margin.left, x2: right, y1: bottom, y2: bottom }));
  for (const tick of axes.x.ticks) {
    root.append(svg("text", { x: x(tick), y: bottom + 18, "text-anchor": "middle" }, axes.x.format(tick)));
  }
  root.append(
    svg("text", { class: "title", x: (margin.left + right) / 2, y: height - 6, "text-anchor": "middle" }, axes.x.title),
    svg("text", { class: "title", transform: `translate(14 ${(margin.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
      axes.y.title),
  );
  return { root, x, y, left: margin.left, right, top: margin.top, bottom };
}

const accuracyChart = (() => {
  const FULL = "full";
  const SHAPES = [
    (x, y) => svg("circle", { cx: x, cy: y, r: 5 }),
    (x, y) => svg("rect", { x: x - 4.5, y: y - 4.5, width: 9, height: 9 }),
    (x, y) => svg("path", { d: `M${x} ${y - 6}L${x + 5.5} ${y + 4.5}H${x - 5.5}Z` }),
    (x, y) => svg("path", { d: `M${x} ${y - 6.5}L${x + 6.5} ${y}L${x} ${y + 6.5}L${x - 6.5} ${y}Z` }),
  ];
  const rows = content.accuracy.filter((row) => row.mean != null);
  const full = rows.find((row) => row.method === FULL);
  const others = rows.filter((row) => row !== full);
  const methods = [...new Set(others.map((row) => row.method))];
  const level = shortPercent(content.confidence);

  /** Returns the ends of the interval around a row's accuracy: the interval of its difference from the full set. */
  function ends(row) {
    if (row.full?.low == null || row.full.high == null) return null;
    return [row.mean + row.full.low - row.full.mean, row.mean + row.full.high - row.full.mean];
  }

  const colour = (method) => `series-${methods.indexOf(method) % 6}`;
  const shape = (method, x, y) => SHAPES[methods.indexOf(method) % SHAPES.length](x, y);

  function drawMethod(chart, method, shift) {
    const its = others.filter((row) => row.method === method).sort((a, b) => a.fraction - b.fraction);
    const at = (row) => [chart.x(row.fraction) + shift, chart.y(row.mean)];
    const series = svg("g", { class: colour(method) });
    series.append(svg("polyline", { points: its.map((row) => at(row).join(",")).join(" ") }));
    for (const row of its) {
      const [x, y] = at(row), between = ends(row);
      const point = svg("g", {}, svg("title", {}, sentence(row)));
      if (between) {
        const [low, high] = between.map(chart.y);
        point.append(svg("path", { class: "whisker", d: `M${x} ${low}V${high}M${x - 5} ${low}h10M${x - 5} ${high}h10` }));
      }
      point.append(shape(method, x, y));
      series.append(point);
    }
    chart.root.append(series);
  }

  function draw(width) {
    const values = rows.flatMap((row) => [row.mean, ...(ends(row) ?? [])]);
    const [low, high] = extent(values), room = (high - low) * 0.08 || 0.01;
    const fractions = [...new Set(others.map((row) => row.fraction))].sort((a, b) => a - b);
    const domain = [0, Math.max(...fractions, 0.05) * 1.08];
    // An interval may end above 100%, the largest possible accuracy.
    const steps = niceTicks(low - room, high + room, 6).filter((tick) => tick <= 1 + 1e-9);
    const digits = decimals(steps.map((tick) => 100 * tick), 4);
    const apart = fractions.every((f, i) => !i || ((f - fractions[i - 1]) / domain[1]) * width > 55);
    const chart = frame(width, {
      x: { domain, ticks: apart ? fractions : niceTicks(...domain, 5), format: shortPercent, title: "training images pruned" },
      y: { domain: [low - room, high + room], ticks: steps, format: (v) => percent(v, digits), title: "test accuracy" },
    }, "Test accuracy against the share of training images pruned; the table below has the numbers");
    if (full) {
      const y = chart.y(full.mean);
      chart.root.append(svg("line", { class: "full", x1: chart.left, x2: chart.right, y1: y, y2: y }));
    }
    methods.forEach((method, i) => drawMethod(chart, method, (i - (methods.length - 1) / 2) * 9));
    byId("accuracy-chart").replaceChildren(chart.root);
  }

  function sentence(row) {
    return `${row.method}, ${shortPercent(row.fraction)} pruned: ${spread(row)}, from full ${difference(row.full)}`;
  }

  const spread = (row) => percent(row.mean, 2) + (row.std == null ? "" : ` ± ${(100 * row.std).toFixed(2)}`);

  function difference(d) {
    if (d?.mean == null) return "–";
    return signed(d.mean) + (d.low == null ? "" : ` [${signed(d.low)}, ${signed(d.high)}]`);
  }

  function table() {
    const head = ["Method", "Pruned", "Kept", "Accuracy", "Seeds", "From full, points", "From random, points"];
    const cells = (row) => [
      row.method, shortPercent(row.fraction), count(row.num_kept), spread(row), count(row.num_seeds),
      difference(row.full), difference(row.random),
    ];
    const line = (tag, texts) => make("tr", {}, ...texts.map((text, i) => make(tag, { class: i ? "number" : null }, text)));
    byId("accuracy-table").replaceChildren(
      make("thead", {}, line("th", head)),
      make("tbody", {}, ...rows.map((row) => line("td", cells(row)))),
    );
  }

  function legend() {
    const key = (method) => svg("svg", { width: 22, height: 14, class: colour(method), "aria-hidden": "true" },
      svg("line", { x1: 0, x2: 22, y1: 7, y2: 7 }), shape(method, 11, 7));
    const fullKey = () => svg("svg", { width: 22, height: 14, "aria-hidden": "true" },
      svg("line", { class: "full", x1: 0, x2: 22, y1: 7, y2: 7 }));
    byId("accuracy-legend").replaceChildren(
      ...methods.map((method) => make("li", {}, key(method), method)),
      ...(full ? [make("li", {}, fullKey(), "full set")] : []),
    );
  }

  return () => {
    if (!rows.length) {
      byId("accuracy-note").textContent =
        "No trials yet, so the accuracy that pruning costs is not known.";
      byId("accuracy-table").closest(".scroll").hidden = true;
      return;
    }
    byId("accuracy-note").textContent = rows.some(ends)
      ? `Whiskers: the ${level} interval of the difference from the full set, paired by seed. ± is one standard deviation over seeds.`
      : "Too few seeds for intervals. ± is one standard deviation over seeds.";
    table();
    legend();
    onWidth(byId("accuracy-chart"), draw);
  };
})();

const classBars = (() => {
  const { size, pruned } = content.classes;
  const share = size.map((n, label) => (n ? pruned[label] / n : 0));
  const total = size.reduce((a, b) => a + b, 0), overall = total ? pruned.reduce((a, b) => a + b, 0) / total : 0;
  const widest = Math.max(extent(share)[1], 1e-9);

  function bar(label, onChoose) {
    const row = make(
      "button",
      {
        type: "button",
        class: "bar",
        title: `Show the groups of ${className(label)}`,
        "aria-label": `${className(label)}: ${percent(share[label])}, ${count(pruned[label])} of ${count(size[label])} pruned`,
        onclick: () => onChoose(label),
      },
      make("span", { class: "bar-name" }, className(label)),
      make("span", { class: "bar-track" }, make("span", { class: "bar-fill" }), make("span", { class: "bar-mean" })),
      make("span", { class: "bar-share" }, percent(share[label])),
      make("span", { class: "bar-count" }, `${count(pruned[label])} / ${count(size[label])}`),
    );
    row.style.setProperty("--share", share[label] / widest);
    row.style.setProperty("--mean", overall / widest);
    return make("li", {}, row);
  }

  return (onChoose) => {
    byId("classes-note").textContent =
      `${counted(size.length, "class", "classes")}, ${percent(overall)} pruned over all (the thin line). Choose a class to see its groups.`;
    const draw = () => {
      const labels = range(size.length);
      if (byId("classes-order").value === "share") labels.sort((a, b) => share[b] - share[a] || a - b);
      byId("classes-bars").replaceChildren(...labels.map((label) => bar(label, onChoose)));
    };
    byId("classes-order").addEventListener("change", draw);
    draw();
  };
})();

const heightChart = (() => {
  const { cut } = content.heights;
  const points = content.heights.share.map((share, i) => [share, content.heights.height[i]]).filter(([, h]) => h != null);

  /** Returns the last point at or before a share. */
  function before(share) {
    let low = 0, high = points.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (points[middle][0] <= share) low = middle;
      else high = middle - 1;
    }
    return points[low];
  }

  function draw(width) {
    const top = Math.max(extent(points.map(([, height]) => height))[1], cut ?? 0) * 1.05 || 1;
    const domain = [0, Math.max(points.at(-1)[0], content.selection.fraction, 1e-9)];
    const ticks = niceTicks(0, top, 5), digits = decimals(ticks, 8);
    const chart = frame(width, {
      x: { domain, ticks: niceTicks(...domain, 5), format: shortPercent, title: "training images pruned" },
      y: { domain: [0, top], ticks, format: (v) => v.toFixed(digits), title: "merge height" },
    }, `Heights of merges against the share pruned${cut == null ? "" : `; cut at ${distanceText(cut)}`}`);
    const at = ([share, height]) => `${chart.x(share).toFixed(1)} ${chart.y(height).toFixed(1)}`;
    if (cut != null) drawCut(chart);
    chart.root.append(svg("path", { class: "curve", d: `M${points.map(at).join("L")}` }));
    readout(chart, domain);
    byId("heights-chart").replaceChildren(chart.root);
  }

  function drawCut(chart) {
    const x = chart.x(content.selection.fraction), y = chart.y(cut), late = x > (chart.left + chart.right) / 2;
    const label = (line, text) => svg("text", {
      class: "cut-label", x: late ? x - 8 : x + 8, y: chart.top + 14 + 16 * line, "text-anchor": late ? "end" : "start",
    }, text);
    chart.root.append(
      svg("rect", { class: "pruned-area", x: chart.left, y: chart.top, width: Math.max(0, x - chart.left), height: chart.bottom - chart.top }),
      svg("line", { class: "cut", x1: chart.left, x2: chart.right, y1: y, y2: y }),
      svg("line", { class: "cut", x1: x, x2: x, y1: chart.top, y2: chart.bottom }),
      label(0, `cut at ${distanceText(cut)}`),
      label(1, `${shortPercent(content.selection.fraction)} pruned`),
    );
  }

  function readout(chart, [low, high]) {
    const line = svg("line", { class: "hair", y1: chart.top, y2: chart.bottom, visibility: "hidden" });
    chart.root.append(line);
    chart.root.addEventListener("pointermove", (event) => {
      const x = Math.min(chart.right, Math.max(chart.left, event.clientX - chart.root.getBoundingClientRect().left));
      const share = low + ((x - chart.left) / (chart.right - chart.left)) * (high - low);
      fill(line, { x1: x, x2: x, visibility: "visible" }, []);
      byId("heights-readout").textContent = `${percent(share)} pruned: cut at ${distanceText(before(share)[1])}`;
    });
    chart.root.addEventListener("pointerleave", () => line.setAttribute("visibility", "hidden"));
  }

  return () => {
    if (!points.length) {
      byId("heights-note").textContent = "No heights are available: only selections from a dendrogram have them.";
      return;
    }
    byId("heights-note").textContent =
      "The height at which dendrograms are cut to prune a share, the median over dendrograms. With complete linkage, " +
      "no two images of a group are farther apart than this. A flat start means near-duplicates.";
    onWidth(byId("heights-chart"), draw);
  };
})();
