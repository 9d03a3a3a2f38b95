"use strict";
(() => {
  const search = document.getElementById("search");
  if (!search) return;
  const found = document.getElementById("found");
  const none = document.getElementById("none");
  const rows = Array.from(document.querySelectorAll("#list tbody tr"), (row) => ({
    row,
    text: row.textContent.toLowerCase(),
  }));
  const show = () => {
    const parts = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text } of rows) {
      const fits = parts.every((part) => text.includes(part));
      row.hidden = !fits;
      if (fits) shown += 1;
    }
    const all = rows.length.toLocaleString("en");
    found.textContent = parts.length ? `${shown.toLocaleString("en")} of ${all} words` : `${all} words`;
    none.hidden = shown > 0;
  };
  search.addEventListener("input", show);
  show(); // a browser that goes back keeps what was typed
})();
