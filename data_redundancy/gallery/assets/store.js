// Values that are kept when the page is closed. They are in IndexedDB, because the localStorage of a page opened from disk
// is sometimes empty after a reload, and values written then are lost (Chromium 156).

const store = (() => {
  const NAME = "veto";

  const finished = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

  async function open() {
    const request = indexedDB.open("data_redundancy", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(NAME);
    return finished(request);
  }

  async function read(key) {
    const database = await opened;
    return finished(database.transaction(NAME).objectStore(NAME).get(key));
  }

  async function write(key, value) {
    const transaction = (await opened).transaction(NAME, "readwrite");
    const done = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    transaction.objectStore(NAME).put(value, key);
    transaction.commit();
    return done;
  }

  const opened = open();
  opened.catch(() => { /* reported when a value is written */ });
  return { read, write };
})();
