// Zooming and moving the map without a mouse, and a wheel that scrolls the page until it is asked.
function moving(div, rangeNow, look, reset) {
  const scaled = ([low, high], times) => {
    const middle = (low + high) / 2;
    return [middle - (high - low) / 2 * times, middle + (high - low) / 2 * times];
  };
  const zoom = (times) => look(scaled(rangeNow().x, times), scaled(rangeNow().y, times));
  const shift = (across, up) => {
    const { x, y } = rangeNow();
    const step = (range, share) => range.map((edge) => edge + share * (range[1] - range[0]));
    return look(step(x, across), step(y, up));
  };
  const deeds = {
    "+": () => zoom(1 / 1.5), "=": () => zoom(1 / 1.5), "-": () => zoom(1.5), 0: reset,
    ArrowLeft: () => shift(-0.15, 0), ArrowRight: () => shift(0.15, 0),
    ArrowUp: () => shift(0, 0.15), ArrowDown: () => shift(0, -0.15),
  };
  div.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in deeds)) return;
    event.preventDefault();
    deeds[event.key]();
  });
  const buttons = { in: deeds["+"], out: deeds["-"], all: reset };
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", buttons[button.dataset.zoom]);
  }
  // Plotly would take every wheel; without focus it belongs to the page.
  div.addEventListener("wheel", (event) => {
    if (!div.contains(document.activeElement) && !event.ctrlKey) event.stopImmediatePropagation();
  }, { capture: true });
  div.addEventListener("pointerdown", () => div.focus({ preventScroll: true }));
}
