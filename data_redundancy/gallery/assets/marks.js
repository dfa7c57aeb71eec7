// The user's veto: images marked "keep" or "drop". An entry names an image as veto.json does: by its id, or by its index
// where it has none.

const marks = (() => {
  const FORMAT = "data_redundancy veto";
  const KEY = `${FORMAT} ${content.dataset.digest} ${content.selection.name}`;
  const listeners = [];
  const past = [];
  let marked = new Map();

  const isEntry = (entry) => typeof entry === "string" || (Number.isSafeInteger(entry) && entry >= 0);

  function toMap({ keep, drop }) {
    return new Map([...keep.map((entry) => [entry, "keep"]), ...drop.map((entry) => [entry, "drop"])]);
  }

  async function restore() {
    const before = marked;
    try {
      const stored = await store.read(KEY);
      if (stored && marked === before) replaceAll(toMap(stored));
    } catch { /* nothing is stored where nothing can be */ }
  }

  function replaceAll(stored) {
    marked = stored;
    past.length = 0;
    tell();
  }

  /** Those with a mark, indices first, in order. */
  function entries(mark) {
    const found = [...marked].filter(([, its]) => its === mark).map(([entry]) => entry);
    const numbers = found.filter((entry) => typeof entry === "number").sort((a, b) => a - b);
    return [...numbers, ...found.filter((entry) => typeof entry === "string").sort()];
  }

  function tell() {
    for (const listener of listeners) listener();
  }

  async function changed() {
    tell();
    try {
      await store.write(KEY, { keep: entries("keep"), drop: entries("drop") });
    } catch {
      status("This browser stores no marks: save veto.json before you close the page.");
    }
  }

  function replace(next) {
    past.push(marked);
    marked = next;
    changed();
  }

  async function set(entry, mark) {
    await restored;
    if (marked.get(entry) === (mark ?? undefined)) return;
    const next = new Map(marked);
    if (mark == null) next.delete(entry);
    else next.set(entry, mark);
    replace(next);
  }

  function undo() {
    if (!past.length) return;
    marked = past.pop();
    changed();
  }

  function toVeto() {
    return {
      format: FORMAT,
      version: 1,
      dataset: content.dataset.digest,
      selection: content.selection.name,
      keep: entries("keep"),
      drop: entries("drop"),
    };
  }

  /** Takes the marks of a veto.json; throws an Error that says what is wrong with it. */
  function load(text, normal) {
    let veto;
    try {
      veto = JSON.parse(text);
    } catch {
      throw new Error("it is not a JSON file");
    }
    if (veto?.format !== FORMAT || veto.version !== 1) throw new Error(`its format is not "${FORMAT}", version 1`);
    if (veto.dataset !== content.dataset.digest) throw new Error("it belongs to another data set");
    for (const list of [veto.keep, veto.drop]) {
      if (!Array.isArray(list) || !list.every(isEntry)) throw new Error("keep and drop must list ids and indices");
    }
    const keep = veto.keep.map(normal), drop = veto.drop.map(normal), kept = new Set(keep);
    const both = drop.find((entry) => kept.has(entry));
    if (both !== undefined) throw new Error(`it both keeps and drops ${both}`);
    replace(toMap({ keep, drop }));
    return veto;
  }

  const restored = restore();
  // Another tab may have changed them meanwhile.
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && restore());
  return {
    of: (entry) => marked.get(entry) ?? null,
    size: (mark) => entries(mark).length,
    canUndo: () => past.length > 0,
    onChange: (listener) => listeners.push(listener),
    set,
    undo,
    load,
    toVeto,
  };
})();
