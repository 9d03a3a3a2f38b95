// The map: new words (diamonds) among old ones (dots), with names, zoom and hover.
const WHOLE = 1.09; // half the width of what "show all" shows; places are in [-1, 1]

function wordMap(Plotly, data, table, paint) {
  const div = document.getElementById("map-plot");
  const { names, tied } = data.map;
  const newNames = data.map.new.map((_, i) => table.name(i));
  let lit = null; // {rows, olds}: what the search of the table found, else everything
  let range = { x: [-WHOLE, WHOLE], y: [-WHOLE, WHOLE] };

  const isNew = (i) => !lit || lit.rows.has(i);
  const isOld = (j) => !lit || lit.olds.has(j);
  const draw = () => {
    const colours = paint();
    const size = div.getBoundingClientRect();
    const [newSides, oldSides] = sides(size.width, size.height);
    const ties = { x: [], y: [] };
    tied.forEach((j, i) => {
      if (j < 0 || !isNew(i)) return;
      ties.x.push(data.map.new[i][0], data.map.known[j][0], null);
      ties.y.push(data.map.new[i][1], data.map.known[j][1], null);
    });
    return Plotly.react(div, [
      { ...ties, mode: "lines", type: "scatter", hoverinfo: "skip", line: { color: colours.new, width: 1 }, opacity: 0.4 },
      points(data.map.known, names, oldSides, isOld, {
        symbol: "circle", size: 5, color: colours.dots, ink: colours.soft, font: 11, about: aboutOld,
      }),
      points(data.map.new, newNames, newSides, isNew, {
        symbol: "diamond", size: 9, color: colours.new, ink: colours.new, font: 12.5, weight: 600,
        edge: colours.card, about: aboutNew,
      }),
    ], layout(colours, size, range), { displayModeBar: false, scrollZoom: true, doubleClick: false, showAxisDragHandles: false });
  };

  // Where names go, new words first, in pixels of the map as it stands.
  const sides = (width, height) => {
    const spot = ([x, y]) => ({
      x: (x - range.x[0]) / (range.x[1] - range.x[0]) * width,
      y: (range.y[1] - y) / (range.y[1] - range.y[0]) * height,
    });
    const fresh = data.map.new.map((place, i) => ({ ...spot(place), r: 6, text: newNames[i], size: 12.5, bold: true, i, lit: isNew(i) }));
    const old = data.map.known.map((place, j) => ({ ...spot(place), r: 3, text: names[j], size: 11, j, lit: isOld(j) }));
    const wanted = [...fresh, ...old].filter((dot) => dot.lit);
    const found = placeNames(wanted, width, height);
    const both = [new Map(), new Map()];
    wanted.forEach((dot, k) => found[k] && both["i" in dot ? 0 : 1].set(dot.i ?? dot.j, found[k]));
    return both;
  };

  const aboutNew = (i) => {
    const { count, confidence, lacking } = data.words;
    const sure = confidence[i] === null ? "not measured" : `${confidence[i].toFixed(2)}, ${sureness(confidence[i], data.levels)}`;
    return `<b>${plain(newNames[i])}</b><br>seen ${times(count[i])} · ${plain(lacking[i] === "new" ? "new" : `${lacking[i]} differs`)}`
      + `<br>confidence ${sure}<br>nearest old words:<br>${table.near(i).map(([word, cosine]) => `${plain(word)} ${cosine}`).join("<br>")}`;
  };
  const around = names.map(() => []);
  tied.forEach((j, i) => j >= 0 && around[j].push(i));
  const aboutOld = (j) => `<b>${plain(names[j])}</b><br>old word`
    + (around[j].length ? `<br>nearest to ${around[j].slice(0, 4).map((i) => plain(newNames[i])).join(", ")}` : "");

  const look = (x, y) => {
    range = { x, y };
    return draw();
  };
  const reset = () => look([-WHOLE, WHOLE], [-WHOLE, WHOLE]);
  return draw().then(() => {
    div.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change) look(div.layout.xaxis.range.slice(), div.layout.yaxis.range.slice());
    });
    let clicked = 0; // a double click comes with clicks, and these must not lead away
    let doubled = -Infinity;
    div.on("plotly_doubleclick", () => {
      clearTimeout(clicked);
      doubled = performance.now();
      reset();
    });
    div.on("plotly_click", ({ points: [point] }) => {
      clearTimeout(clicked);
      if (performance.now() - doubled < 300) return;
      clicked = setTimeout(() => (point.curveNumber === 2
        ? table.open(point.pointIndex) : table.find(names[point.pointIndex])), 300);
    });
    moving(div, () => range, look, reset);
    const light = (rows, parts) => {
      const fits = (name) => parts.length > 0 && parts.every((part) => name.toLowerCase().includes(part));
      lit = rows && { rows, olds: new Set(names.flatMap((name, j) => (fits(name) ? [j] : []))) };
      return draw();
    };
    return { draw, light };
  });
}

function points(places, names, sides, isLit, look) {
  const every = places.map((_, i) => i);
  return {
    type: "scatter", mode: "markers+text",
    x: places.map(([x]) => x), y: places.map(([, y]) => y),
    // Nothing to see, but not empty: Plotly forgets the place of an empty text for good.
    text: every.map((i) => (sides.has(i) ? plain(names[i]) : "\u200b")),
    textposition: every.map((i) => sides.get(i) ?? "middle right"),
    textfont: { size: look.font, weight: look.weight ?? 400, color: look.ink, family: FONT },
    hovertext: every.map(look.about), hovertemplate: "%{hovertext}<extra></extra>",
    marker: {
      symbol: look.symbol, size: look.size, color: look.color,
      opacity: every.map((i) => (isLit(i) ? 1 : 0.13)),
      line: { width: look.edge ? 1 : 0, color: look.edge ?? look.color },
    },
  };
}

function layout(colours, size, range) {
  const axis = { visible: false, fixedrange: false };
  return {
    width: size.width, height: size.height, margin: { l: 0, r: 0, t: 0, b: 0 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    // Fingers scroll the page past the map; they zoom it with the buttons.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "pan",
    hovermode: "closest", hoverdistance: 16,
    xaxis: { ...axis, range: range.x.slice() }, yaxis: { ...axis, range: range.y.slice() },
    font: { family: FONT, color: colours.ink }, hoverlabel: label(colours),
  };
}
