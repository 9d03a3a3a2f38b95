// Colours and shapes that all drawings share, read from the style sheet: one place says what is dark.
function paint() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "card", "ink", "soft", "line", "dots", "new", "known", "good", "third"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

const signed = (value) => value.toFixed(2).replace("-", "\u2212");
const sureness = (cosine, [high, medium]) => (cosine >= high ? "high" : cosine >= medium ? "medium" : "low");

function label(colours) {
  return { bgcolor: colours.card, bordercolor: colours.soft, font: { family: FONT, size: 13, color: colours.ink }, align: "left", namelength: -1 };
}

function axisLook(colours) {
  return {
    gridcolor: colours.line, zeroline: false, color: colours.soft, tickcolor: colours.line,
    tickfont: { size: innerWidth < 640 ? 10.5 : 12, color: colours.soft, family: FONT }, fixedrange: true, automargin: true,
  };
}

function chartLayout(colours, div) {
  const size = div.getBoundingClientRect();
  return {
    width: size.width, height: size.height, margin: { l: 44, r: 8, t: 8, b: 40 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    hovermode: "closest", font: { family: FONT, color: colours.ink }, hoverlabel: label(colours),
  };
}
