// Charts of the hidden words: every method by part of the words, and our cosine over counts.
const FIRST = ["rowtune", "contexts only", "spelling", "a la carte"]; // drawn unless unticked
const SYMBOLS = ["diamond", "circle", "square", "triangle-up", "cross", "x", "star", "triangle-down",
  "diamond-open", "circle-open", "square-open", "triangle-up-open"];
const SIGNS = "\u25c6\u25cf\u25a0\u25b2\u271a\u2716\u2605\u25bc\u25c7\u25cb\u25a1\u25b3"; // the same, as text

function methodCharts(Plotly, data, paint) {
  const parts = Array.from(new Set(data.parts.map((part) => part.part)));
  const methods = Array.from(new Map(data.parts.map((part) => [part.method, part.name])));
  const place = (method) => (FIRST.includes(method) ? FIRST.indexOf(method) : FIRST.length);
  methods.sort((a, b) => place(a[0]) - place(b[0]));
  const chosen = new Set(methods.slice(0, 4).map(([method]) => method));
  const spots = partPlaces(parts);
  const look = (colours, k) => ({
    color: [colours.new, colours.known, colours.good, colours.third][k] ?? colours.soft,
    symbol: SYMBOLS[k % SYMBOLS.length],
  });

  const traces = (measure, colours) => {
    const drawn = methods.filter(([method]) => chosen.has(method));
    return drawn.map(([method, name], k) => {
      const shift = (k - (drawn.length - 1) / 2) * Math.min(0.13, 0.7 / drawn.length);
      const mine = parts.map((part) => data.parts.find((p) => p.part === part && p.method === method)).filter(Boolean);
      const { color, symbol } = look(colours, methods.findIndex((m) => m[0] === method));
      return {
        type: "scatter", mode: "markers", name: plain(name),
        x: mine.map((p) => spots.at.get(p.part) + shift), y: mine.map((p) => p[measure][0]),
        error_y: {
          type: "data", symmetric: false, thickness: 1.6, width: 3, color,
          array: mine.map((p) => p[measure][2] - p[measure][0]),
          arrayminus: mine.map((p) => p[measure][0] - p[measure][1]),
        },
        marker: { color, symbol, size: method === data.ours ? 11 : 10, line: { width: 1, color: colours.card } },
        hovertext: mine.map((p) => `<b>${plain(p.name)}</b><br>${plain(p.part)} (${number(p.words)} words)<br>`
          + `cosine ${signed(p.cosine[0])} (${signed(p.cosine[1])} to ${signed(p.cosine[2])})<br>`
          + `median rank ${number(p.rank[0])} (${number(p.rank[1])} to ${number(p.rank[2])})`),
        hovertemplate: "%{hovertext}<extra></extra>",
      };
    });
  };

  const draw = () => {
    const colours = paint();
    const common = (id) => chartLayout(colours, document.getElementById(id));
    const xaxis = { ...axisLook(colours), showgrid: false, tickvals: spots.ticks, ticktext: spots.names, tickangle: 0, range: [-0.6, spots.end + 0.6] };
    const divide = spots.lines.map((x) => ({
      type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color: colours.line, width: 1 },
    }));
    const both = { xaxis, shapes: divide };
    return Promise.all([
      Plotly.react("cosine-plot", traces("cosine", colours), { ...common("cosine-plot"), ...both, yaxis: axisLook(colours) }, { displayModeBar: false }),
      Plotly.react("rank-plot", traces("rank", colours), {
        ...common("rank-plot"), ...both,
        yaxis: { ...axisLook(colours), type: "log", autorange: "reversed", dtick: 1, tickformat: ",.0f" },
      }, { displayModeBar: false }),
    ]);
  };
  chooser(methods, chosen, draw);
  return draw;
}

// Parts on a line: all words, then the bands of counts, then with and without close relatives.
function partPlaces(parts) {
  const kinds = parts.map((part) => (part.startsWith("seen ") ? 1 : part === "all" ? 0 : 2));
  const order = parts.map((part, i) => [kinds[i], i, part]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const at = new Map();
  const lines = [];
  let x = 0;
  order.forEach(([kind, , part], i) => {
    if (i > 0) x += 1;
    if (i > 0 && kind !== order[i - 1][0]) {
      lines.push(x - 0.4);
      x += 0.2;
    }
    at.set(part, x);
  });
  const short = (part) => plain(part.replace(/^seen (.*?)( times)?( or more)?$/, "$1$3×")).replace(/ (to|close) /g, (said) => (said === " to " ? "\u2013" : " close<br>"));
  return { at, lines, end: x, ticks: Array.from(at.values()), names: Array.from(at.keys(), innerWidth < 640 ? (part) => short(part).replace(/(\u2013)|(<br>| )/g, "$1<br>") : short) };
}

// Boxes to tick instead of Plotly's legend: they work with keys and serve both charts.
function chooser(methods, chosen, draw) {
  const box = document.getElementById("methods");
  methods.forEach(([method, name], k) => {
    const label = document.createElement("label");
    const tick = document.createElement("input");
    tick.type = "checkbox";
    tick.checked = chosen.has(method);
    tick.addEventListener("change", () => {
      if (tick.checked) chosen.add(method);
      else chosen.delete(method);
      draw();
    });
    const sign = document.createElement("i");
    sign.className = `method-${Math.min(k, 4)}`;
    sign.textContent = SIGNS[k % SIGNS.length];
    sign.setAttribute("aria-hidden", "true");
    label.append(tick, sign, name);
    box.append(label);
  });
}

function hiddenCloud(Plotly, data, paint) {
  const { words, count, cosine, rank, relative } = data.hidden;
  const order = count.map((_, i) => i).sort((a, b) => count[a] - count[b]);
  const groups = Math.max(1, Math.min(8, Math.floor(order.length / 15)));
  const middle = Array.from({ length: groups }, (_, g) => {
    const mine = order.slice(Math.round(g * order.length / groups), Math.round((g + 1) * order.length / groups));
    return [median(mine.map((i) => count[i])), median(mine.map((i) => cosine[i]))];
  });
  return () => {
    const colours = paint();
    const axis = axisLook(colours);
    const base = chartLayout(colours, document.getElementById("cloud-plot"));
    return Plotly.react("cloud-plot", [
      {
        type: "scatter", mode: "markers", x: count, y: cosine,
        marker: { color: colours.known, size: 6, opacity: 0.6 },
        hovertext: words.map((word, i) => `<b>${plain(word)}</b><br>seen ${times(count[i])}<br>cosine ${signed(cosine[i])}, rank ${number(rank[i] ?? NaN)}`
          + (relative[i] ? `<br>close relative: ${plain(relative[i])}` : "")),
        hovertemplate: "%{hovertext}<extra></extra>",
      },
      {
        type: "scatter", mode: "lines", x: middle.map((m) => m[0]), y: middle.map((m) => m[1]),
        line: { color: colours.new, width: 3 }, hoverinfo: "skip",
      },
    ], {
      ...base, margin: { ...base.margin, b: 44 },
      xaxis: { ...axis, type: "log", dtick: "D2", tickformat: ",", title: { text: "times seen in the corpus (log scale)", standoff: 10, font: { size: 12 } } },
      yaxis: axis,
    }, { displayModeBar: false });
  };
}

const median = (values) => values.slice().sort((a, b) => a - b)[Math.floor(values.length / 2)];
