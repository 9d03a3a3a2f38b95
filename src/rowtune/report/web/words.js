// The table of new words: search, sort, one reason only. Few rows are in the document at a time,
// so that a table of ten thousand answers within a frame.
const CHUNK = 40; // a few more than the box shows; the page itself begins with as many
const number = (value) => value.toLocaleString("en");

function wordTable(words, changed) {
  const list = document.getElementById("list");
  if (!list) return null;
  const scroll = document.getElementById("scroll");
  const search = document.getElementById("search");
  const rows = Array.from(list.querySelectorAll("tbody tr"));
  const names = rows.map((row) => row.cells[0].textContent.toLowerCase());
  const texts = rows.map((row, i) =>
    [names[i], row.cells[3].textContent, row.cells[4].textContent].join("\n").toLowerCase());
  list.querySelector("tbody.rest")?.remove();
  const body = list.tBodies[0];
  const orders = sortOrders(words, names);
  let sort = { key: "rank", up: true };
  let found = [];
  let shown = 0;

  const more = () => {
    const next = found.slice(shown, shown + CHUNK).map((i) => openable(rows[i]));
    shown += next.length;
    body.append(...next);
  };

  const show = () => {
    const parts = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const reason = document.querySelector("input[name=reason]:checked")?.value ?? "";
    found = matching(orders(sort), parts, reason, words.lacking, names, texts);
    body.replaceChildren();
    shown = 0;
    more();
    scroll.scrollTop = 0;
    const all = `${number(rows.length)} ${rows.length === 1 ? "word" : "words"}`;
    document.getElementById("found").textContent =
      found.length === rows.length ? all : `${number(found.length)} of ${all}`;
    document.getElementById("none").hidden = found.length > 0;
    changed(found.length === rows.length ? null : new Set(found), parts);
  };

  search.addEventListener("input", show);
  for (const box of document.querySelectorAll("input[name=reason]")) {
    box.addEventListener("change", show);
  }
  sortable(list, (key, up) => {
    sort = { key, up };
    show();
  });
  opening(list, rows, words);
  new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && more(), {
    root: scroll,
    rootMargin: "400px",
  }).observe(document.getElementById("end"));
  show(); // a browser that goes back keeps what was typed

  // Show what was clicked on the map: a new word's own row, or the rows beside an old word.
  const find = (text) => {
    const all = document.querySelector("input[name=reason][value='']");
    if (all) all.checked = true;
    search.value = text;
    show();
    document.getElementById("words").scrollIntoView({ block: "start" });
  };
  return {
    find,
    open(i) {
      find(rows[i].cells[0].textContent.trim());
      openRow(rows[i], i, words);
      rows[i].querySelector("button").focus({ preventScroll: true });
    },
    name: (i) => rows[i].cells[0].textContent.trim(),
    near: (i) => Array.from(rows[i].cells[4].querySelectorAll("bdi")).slice(0, 5).map((word) =>
      [word.textContent, word.nextSibling.textContent.match(/[\d.\u2212]+/)[0]]),
  };
}

// The word itself first, then words that hold what was typed, then neighbours that do.
function matching(order, parts, reason, lacking, names, texts) {
  const whole = parts.join(" ");
  const tiers = [[], [], []];
  for (const i of order) {
    if (reason && lacking[i] !== reason) continue;
    if (!parts.every((part) => texts[i].includes(part))) continue;
    tiers[names[i] === whole ? 0 : parts.every((part) => names[i].includes(part)) ? 1 : 2].push(i);
  }
  return tiers.flat();
}

// Orders of the rows, each made once. Words without a measured confidence come last either way.
function sortOrders(words, names) {
  const rank = Array.from(names.keys());
  const known = (i) => words.confidence[i] !== null;
  const collator = new Intl.Collator("en");
  const compare = {
    rank: () => 0,
    word: (a, b) => collator.compare(names[a], names[b]),
    count: (a, b) => words.count[a] - words.count[b],
    confidence: (a, b) => words.confidence[a] - words.confidence[b],
    lacking: (a, b) => collator.compare(words.lacking[a], words.lacking[b]),
  };
  const made = new Map();
  return ({ key, up }) => {
    const name = `${key} ${up}`;
    if (!made.has(name)) {
      const sign = up ? 1 : -1;
      made.set(name, rank.slice().sort((a, b) => (key === "confidence" && known(b) - known(a))
        || sign * compare[key](a, b) || a - b));
    }
    return made.get(name);
  };
}

// Heads become buttons: numbers begin with the largest, words with A; a third press undoes it.
function sortable(list, sorted) {
  const heads = list.querySelectorAll("th[data-sort]");
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const key = head.dataset.sort;
    const first = key === "count" || key === "confidence" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const next = now === first ? second : now === second ? null : first;
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      sorted(next ? key : "rank", next ? next === "ascending" : true);
    });
  }
}
