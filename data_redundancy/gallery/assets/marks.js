// The user's veto: images marked "keep" or "drop". An entry names an image as veto.json does: by its id, or by its index
// if it has no id.

const marks = (() => {
  const FORMAT = "data_redundancy veto";
  const KEY = `${FORMAT} ${content.dataset.digest} ${content.selection.name}`;
  const listeners = [];
  const past = [];  // functions that undo the changes, the latest last
  let marked = new Map(), changes = 0;

  const isEntry = (entry) => typeof entry === "string" || (Number.isSafeInteger(entry) && entry >= 0);

  function toMap({ keep, drop }) {
    return new Map([...keep.map((entry) => [entry, "keep"]), ...drop.map((entry) => [entry, "drop"])]);
  }

  async function restore() {
    const before = changes;
    try {
      const stored = await store.read(KEY);
      if (!stored || changes !== before || same(stored, toLists())) return;
      marked = toMap(stored);
      past.length = 0;
      tell();
    } catch { /* storage may be forbidden */ }
  }

  const same = (one, other) => JSON.stringify([one.keep, one.drop]) === JSON.stringify([other.keep, other.drop]);

  /** Returns the sorted entries with a mark, indices before ids. */
  function entries(mark) {
    const found = [...marked].filter(([, its]) => its === mark).map(([entry]) => entry);
    const numbers = found.filter((entry) => typeof entry === "number").sort((a, b) => a - b);
    return [...numbers, ...found.filter((entry) => typeof entry === "string").sort()];
  }

  const toLists = () => ({ keep: entries("keep"), drop: entries("drop") });

  function tell() {
    for (const listener of listeners) listener();
  }

  async function changed() {
    changes += 1;
    tell();
    try {
      await store.write(KEY, toLists());
    } catch {
      status("This browser stores no marks: save veto.json before you close the page.");
    }
  }

  function put(entry, mark) {
    if (mark == null) marked.delete(entry);
    else marked.set(entry, mark);
  }

  async function set(entry, mark) {
    await restored;
    const before = marked.get(entry);
    if (before === (mark ?? undefined)) return;
    past.push(() => put(entry, before));
    put(entry, mark);
    changed();
  }

  function undo() {
    if (!past.length) return;
    past.pop()();
    changed();
  }

  function toVeto() {
    return {
      format: FORMAT,
      version: 1,
      dataset: content.dataset.digest,
      selection: content.selection.name,
      ...toLists(),
    };
  }

  /** Loads the marks of a veto.json; throws an Error that says what is wrong with the file. */
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
    const before = marked;
    past.push(() => { marked = before; });
    marked = toMap({ keep, drop });
    changed();
    return veto;
  }

  const restored = restore();
  // Another tab may have changed the marks meanwhile.
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
