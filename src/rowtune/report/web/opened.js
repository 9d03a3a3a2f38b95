// A row of the table that opens: the places of the corpus where the word stands.

// The word becomes a button when its row is first shown.
function openable(row) {
  if (row.nextSibling?.className === "more") row.nextSibling.remove();
  const head = row.cells[0];
  if (!head.querySelector("button")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
  }
  head.firstChild.setAttribute("aria-expanded", "false");
  row.classList.remove("open");
  return row;
}

function opening(list, rows, words) {
  const at = new Map(rows.map((row, i) => [row, i]));
  list.tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!at.has(row) || (getSelection().toString() && !event.target.closest("button"))) return;
    if (row.classList.contains("open")) closeRow(row);
    else openRow(row, at.get(row), words);
  });
}

function openRow(row, i, words) {
  if (row.classList.contains("open")) return;
  row.classList.add("open");
  row.querySelector("button").setAttribute("aria-expanded", "true");
  const line = document.createElement("tr");
  line.className = "more";
  const cell = document.createElement("td");
  cell.colSpan = row.cells.length;
  const facts = document.createElement("p");
  facts.textContent = `Seen ${times(words.count[i])}, with a known word around ${times(words.contexts[i])}.`;
  cell.append(facts, excerptList(words.excerpts[i], row.cells[0].textContent.trim()));
  line.append(cell);
  row.after(line);
}

function closeRow(row) {
  row.classList.remove("open");
  row.querySelector("button").setAttribute("aria-expanded", "false");
  row.nextSibling.remove();
}

function excerptList(excerpts, word) {
  if (!excerpts.length) {
    const none = document.createElement("p");
    none.textContent = "No excerpts were kept.";
    return none;
  }
  const list = document.createElement("ul");
  for (const text of excerpts) {
    const item = document.createElement("li");
    const isolated = document.createElement("bdi");
    isolated.append(...marked(text, word));
    item.append(isolated);
    list.append(item);
  }
  return list;
}

const times = (count) => (count === 1 ? "once" : `${number(count)} times`);

// The text with the word marked where it stands by itself; inside another word it is not the word.
function marked(text, word) {
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const alone = new RegExp(`(?<![\\p{L}\\p{N}_])${escaped}(?![\\p{L}\\p{N}_])`, "giu");
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(alone)) {
    const mark = document.createElement("mark");
    mark.textContent = match[0];
    pieces.push(text.slice(end, match.index), mark);
    end = match.index + match[0].length;
  }
  return [...pieces, text.slice(end)];
}
