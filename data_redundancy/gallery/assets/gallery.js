// The gallery: groups are sorted, filtered and searched as arrays; only the cards of the current page are elements.

const gallery = (() => {
  const FIRST = 24, STEP = 500;
  const cards = byId("cards");
  const numGroups = groups.start.length;
  const orders = new Map();
  const expanded = new Map();  // by group, the number of members shown if it is not the default
  let found = [], hit = null, page = 0;

  const members = (g) => range(groups.size[g]).map((i) => groups.start[g] + i);
  const missingLast = (value, sign) => (value == null ? Infinity : sign * value);

  const KEYS = {
    tightest: (g) => missingLast(groups.tightness[g], 1),
    loosest: (g) => missingLast(groups.tightness[g], -1),
    largest: (g) => -groups.size[g],
    smallest: (g) => groups.size[g],
    index: (g) => images.index[groups.start[g]],
  };

  function ordered(name) {
    if (!orders.has(name)) {
      const key = Float64Array.from({ length: numGroups }, (_, g) => KEYS[name](g));
      // The difference of two infinities is NaN, which `||` treats as equal.
      orders.set(name, range(numGroups).sort((a, b) => key[a] - key[b] || images.index[groups.start[a]] - images.index[groups.start[b]]));
    }
    return orders.get(name);
  }

  /** Returns a test of rows for a search, or null for an empty search. A number matches an index, or a whole number in a name. */
  function matcher(query) {
    const text = query.trim().toLowerCase();
    if (!text) return null;
    if (/^#\d+$/.test(text)) return (row) => images.index[row] === Number(text.slice(1));
    const inName = (test) => (row) => [images.id[row], images.file[row]].some((name) => name != null && test(name));
    if (!/^\d+$/.test(text)) return inName((name) => name.toLowerCase().includes(text));
    const whole = new RegExp(`(?<!\\d)0*${text.replace(/^0+(?=\d)/, "")}(?!\\d)`);
    const named = inName((name) => whole.test(name));
    return (row) => images.index[row] === Number(text) || named(row);
  }

  function someMember(g, test) {
    const end = groups.start[g] + groups.size[g];
    for (let row = groups.start[g]; row < end; row++) if (test(row)) return true;
    return false;
  }

  function filters() {
    const label = byId("class-filter").value, wanted = byId("marked-filter").value, tests = [];
    if (label !== "") tests.push((g) => someMember(g, (row) => images.label[row] === Number(label)));
    if (wanted !== "all") tests.push((g) => someMember(g, markOf) === (wanted === "marked"));
    if (hit) tests.push((g) => someMember(g, hit));
    return tests;
  }

  function update() {
    hit = matcher(byId("search").value);
    const tests = filters();
    found = ordered(byId("sort").value).filter((g) => tests.every((test) => test(g)));
    expanded.clear();
    show(0);
  }

  const perPage = () => Number(byId("per-page").value);
  const numPages = () => Math.max(1, Math.ceil(found.length / perPage()));

  function show(next) {
    page = Math.min(Math.max(0, Math.floor(next)), numPages() - 1);
    const onPage = found.slice(page * perPage(), (page + 1) * perPage());
    cards.replaceChildren(...onPage.map(card));
    if (!onPage.length) cards.append(make("p", { class: "empty" }, emptyText()));
    tiles()[0]?.setAttribute("tabindex", "0");
    pagers();
  }

  function emptyText() {
    return numGroups ? "No group fits; change the search or the filters." : "This selection has no groups of redundant images.";
  }

  function card(g) {
    const rows = members(g), first = rows[0], limit = expanded.get(g) ?? FIRST;
    // The image found is shown even if it is far back in its group, but a large group is not shown in full for it.
    let back = 0;
    const shown = rows.filter((row, i) => i < limit || (back < FIRST && hit?.(row) && ++back));
    const left = rows.length - shown.length;
    const element = make(
      "article", { class: "card", "data-group": g, "aria-label": `Group of ${rows.length}, ${className(images.label[first])}` },
      make("header", {},
        make("h3", {}, className(images.label[first])),
        make("p", {}, `${counted(rows.length, "image")}, tightness ${distanceText(groups.tightness[g])}`)),
      make("div", { class: "tiles" }, ...shown.map((row) => groupTile(row, first))),
      left > 0
        ? make("button", { type: "button", class: "more", onclick: () => expand(g, limit + STEP) },
          left <= STEP ? `Show all ${count(rows.length)}` : `Show ${STEP} more of ${count(rows.length)}`)
        : null,
    );
    return element;
  }

  function groupTile(row, first) {
    const other = images.label[row] === images.label[first] ? "" : ` ${className(images.label[row])}`;
    const number = `#${images.index[row]}`, distance = distanceText(images.distance[row]) + other;
    const caption = row === first ? number : thumbnails.some ? distance : `${number}: ${distance}`;
    return imageTile(row, caption, {
      class: row === first ? "tile representative" : "tile",
      "data-hit": Boolean(hit?.(row)),
      tabindex: "-1",
    });
  }

  function expand(g, limit) {
    expanded.set(g, limit);
    const before = cards.querySelector(`[data-group="${g}"]`), shown = before.querySelectorAll(".tile").length;
    const after = card(g);
    before.replaceWith(after);
    after.querySelectorAll(".tile")[shown]?.focus();
  }

  const stepButtons = () => document.querySelectorAll("[data-step]");

  function pagers() {
    const numImages = found.reduce((sum, g) => sum + groups.size[g], 0);
    byId("found").textContent = `${counted(found.length, "group")}, ${counted(numImages, "image")}`;
    byId("page-number").value = page + 1;
    byId("page-number").max = numPages();
    byId("num-pages").textContent = `of ${count(numPages())}`;
    for (const button of stepButtons()) button.disabled = !isPage(page + Number(button.dataset.step));
    byId("pager-bottom").hidden = numPages() === 1;
  }

  const isPage = (number) => number >= 0 && number < numPages();

  /** Goes to the top of the previous or the next page; returns false if there is none. */
  function turn(by) {
    if (!isPage(page + by)) return false;
    show(page + by);
    if (byId("pager-top").getBoundingClientRect().top < 0) byId("tools").scrollIntoView();
    return true;
  }

  const tiles = () => [...cards.querySelectorAll(".tile")];

  /** Returns the tile that has the focus, or had it last. */
  const current = () => cards.querySelector('.tile[tabindex="0"]');

  function move(by) {
    const all = tiles(), at = all.indexOf(current()) + by;
    if (all[at]) all[at].focus();
    else if (turn(by)) tiles().at(by > 0 ? 0 : -1).focus();
  }

  function moveGroup(by) {
    const all = [...cards.querySelectorAll(".card")], at = all.indexOf(current()?.closest(".card")) + by;
    if (all[at]) all[at].querySelector(".tile").focus();
    else if (turn(by)) [...cards.querySelectorAll(".card")].at(by > 0 ? 0 : -1).querySelector(".tile").focus();
  }

  function listen() {
    // Only one tile at a time is reachable with the Tab key, so that Tab does not have to pass thousands.
    cards.addEventListener("focusin", (event) => {
      const tile = event.target.closest(".tile");
      if (!tile) return;
      current()?.setAttribute("tabindex", "-1");
      tile.setAttribute("tabindex", "0");
    });
    let waiting;
    byId("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(update, 120);
    });
    byId("search").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      clearTimeout(waiting);
      update();
    });
    for (const button of stepButtons()) button.addEventListener("click", () => turn(Number(button.dataset.step)));
    byId("page-number").addEventListener("change", (event) => show((Number(event.target.value) || 1) - 1));
    for (const id of ["class-filter", "sort", "marked-filter"]) byId(id).addEventListener("change", update);
    byId("per-page").addEventListener("change", () => show(0));
    byId("tools").addEventListener("submit", (event) => event.preventDefault());
  }

  function classOptions() {
    const sizes = new Map();
    for (const g of range(numGroups)) {
      for (const label of new Set(members(g).map((row) => images.label[row]))) sizes.set(label, (sizes.get(label) ?? 0) + 1);
    }
    const labels = [...sizes.keys()].sort((a, b) => a - b);
    byId("class-filter").replaceChildren(
      make("option", { value: "" }, "all classes"),
      ...labels.map((label) => make("option", { value: label }, `${className(label)} (${count(sizes.get(label))})`)),
    );
  }

  function showClass(label) {
    byId("class-filter").value = label;
    if (byId("class-filter").value !== String(label)) {
      status(`No group here has an image of ${className(label)}.`);
      return;
    }
    update();
    byId("gallery").scrollIntoView();
  }

  return {
    build() {
      classOptions();
      listen();
      update();
    },
    move,
    moveGroup,
    turn,
    showClass,
  };
})();
