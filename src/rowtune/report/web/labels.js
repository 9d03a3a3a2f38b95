// Names beside the dots of the map, as many as fit without touching; more fit after zooming in.
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const pencil = document.createElement("canvas").getContext("2d");
const SIDES = [
  ["middle right", 0, -0.5], ["middle left", -1, -0.5],
  ["top center", -0.5, -1], ["bottom center", -0.5, 0],
];

// dots: [{x, y, r, text, size, bold}] in pixels, the most important first. Returns the side of each
// name, or null where none is free.
function placeNames(dots, width, height) {
  const taken = dots
    .filter((dot) => dot.x > -20 && dot.y > -20 && dot.x < width + 20 && dot.y < height + 20)
    .map((dot) => [dot.x - dot.r, dot.y - dot.r, dot.x + dot.r, dot.y + dot.r, dot]);
  return dots.map((dot) => {
    if (dot.x < 0 || dot.y < 0 || dot.x > width || dot.y > height) return null;
    pencil.font = `${dot.bold ? "600 " : ""}${dot.size}px ${FONT}`;
    const wide = pencil.measureText(dot.text).width + 4;
    const high = dot.size * 1.25;
    for (const [side, across, up] of SIDES) {
      const left = dot.x + across * wide + (across === 0 ? dot.r + 2 : across === -1 ? -dot.r - 2 : 0);
      const top = dot.y + up * high + (up === -1 ? -dot.r - 2 : up === 0 ? dot.r + 2 : 0);
      const box = [left, top, left + wide, top + high, null];
      if (left < 2 || top < 2 || box[2] > width - 2 || box[3] > height - 2) continue;
      if (taken.some((other) => other[4] !== dot && overlap(box, other))) continue;
      taken.push(box);
      return side;
    }
    return null;
  });
}

function overlap(a, b) {
  return a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1];
}

// Plotly reads tags, entities and formulas between dollars in names; a word is none of these. Isolates keep a right-to-left word
// from turning what stands beside it.
function plain(text) {
  const safe = text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
    .replace(/\$/g, "&#36;");
  return `\u2068${safe}\u2069`;
}
