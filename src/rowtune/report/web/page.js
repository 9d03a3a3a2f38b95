// What happens when: words at once, then the library, then all that it draws.
const data = JSON.parse(document.getElementById("data").textContent);
let light = () => {};
let waiting = 0;
const table = wordTable(data.words, (rows, parts) => {
  clearTimeout(waiting); // the table answers every key; the map waits for a pause
  waiting = setTimeout(() => light(rows, parts), 120);
});

async function library() {
  const packed = atob(document.getElementById("library").textContent);
  const bytes = Uint8Array.from(packed, (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  return window.Plotly;
}

async function start() {
  if (!document.getElementById("library").textContent) return;
  const Plotly = await library();
  const boxes = { "map-box": table, "bands-box": data.parts.length, "cloud-box": data.hidden.words.length };
  for (const [id, wanted] of Object.entries(boxes)) {
    const box = document.getElementById(id);
    if (box) box.hidden = !wanted;
  }
  for (const text of document.querySelectorAll(".waiting")) text.remove();
  const draws = [];
  if (document.getElementById("bands-box")) draws.push(methodCharts(Plotly, data, paint));
  if (document.getElementById("cloud-box")) draws.push(hiddenCloud(Plotly, data, paint));
  if (table) {
    const map = await wordMap(Plotly, data, table, paint);
    draws.push(map.draw);
    light = map.light;
    document.getElementById("search").dispatchEvent(new Event("input")); // what was typed meanwhile
  }
  const all = () => Promise.all(draws.map((draw) => draw()));
  await all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  new ResizeObserver(all).observe(document.querySelector("main"));
  // Paper is white: drawings lose their dark colours while the page prints.
  const onPaper = (is) => {
    document.documentElement.classList.toggle("on-paper", is);
    all();
  };
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
  document.documentElement.dataset.drawn = "yes";
}

start().catch((error) => {
  for (const text of document.querySelectorAll(".waiting")) {
    text.textContent = `This browser could not draw: ${error.message}. Still pictures are in map.png and pretend_oov.png beside this page.`;
  }
});
