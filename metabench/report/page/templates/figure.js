// Figures: the legend hides an algorithm's marks, a point says its value, and buttons, keys and wheel zoom.

// An algorithm that is not asked for is pale.
function paint(section) {
  for (const chip of section.querySelectorAll(".chip[data-toggle]"))
    for (const mark of section.querySelectorAll(`svg [data-mark="${chip.dataset.toggle}"]`))
      mark.classList.toggle("off", chip.getAttribute("aria-pressed") === "false");
}

function chipOf(mark) {
  return mark.closest("section").querySelector(`.chip[data-toggle="${mark.dataset.mark}"]`);
}

for (const section of document.querySelectorAll("section.suite")) {
  const chips = [...section.querySelectorAll(".chip[data-toggle]")];
  const set = (chosen, on) => {
    for (const chip of chosen) chip.setAttribute("aria-pressed", on ?? chip.getAttribute("aria-pressed") === "false");
    paint(section);
  };
  for (const chip of chips) chip.addEventListener("click", () => set([chip]));
  for (const button of section.querySelectorAll("[data-all]"))
    button.addEventListener("click", () => set(chips, button.dataset.all === "show"));
  section.addEventListener("click", (event) => {
    const entry = event.target.closest("svg .key [data-mark]");
    if (entry) set(chips.filter((chip) => chip.dataset.toggle === entry.dataset.mark));
  });
  paint(section);
}

// Folded figures are packed, and drawn when they are asked for.
async function unfold(figure) {
  const packed = Uint8Array.from(atob(figure.dataset.deflated), (letter) => letter.charCodeAt(0));
  delete figure.dataset.deflated;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const holder = document.createElement("template");
  holder.innerHTML = await new Response(stream).text();
  figure.prepend(holder.content);
  zoomable(figure);
  paint(figure.closest("section"));
}

for (const fold of document.querySelectorAll("details.more"))
  fold.addEventListener("toggle", () => fold.querySelectorAll("figure[data-deflated]").forEach(unfold));

const tip = make("div", { id: "tip", hidden: "", "aria-hidden": "true" });
document.body.append(tip);

// Titles of a figure become our tips, which appear at once: the browser's would after a second.
function take(figure) {
  for (const title of figure.querySelectorAll("svg title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
}

// The point nearest to the pointer, if it is near; or else the mark that is under it.
function under(figure, event) {
  let best = null, least = 14;
  for (const point of figure.querySelectorAll("[data-mark]:not(.off) use[data-tip]")) {
    const box = point.getBoundingClientRect();
    const away = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
    if (away < least) [best, least] = [point, away];
  }
  return best ?? event.target.closest("[data-mark]");
}

function point(figure, event) {
  take(figure);
  const found = under(figure, event);
  tip.hidden = !found;
  if (!found) return;
  const owner = chipOf(found.closest("[data-mark]")).querySelector("bdi").textContent;
  tip.textContent = [owner, found.dataset.tip].filter(Boolean).join(": ");
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4);
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, event.clientY - tip.offsetHeight - 10)}px`;
}

function zoomable(figure) {
  const svg = figure.querySelector("svg");
  const whole = svg.getAttribute("viewBox").split(" ").map(Number);
  let [x, y, width, height] = whole;
  const draw = () => {
    x = Math.min(Math.max(x, whole[0]), whole[0] + whole[2] - width);
    y = Math.min(Math.max(y, whole[1]), whole[1] + whole[3] - height);
    svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    svg.classList.toggle("zoomed", width < whole[2]);
  };
  const zoom = (factor, across = 0.5, down = 0.5) => {
    const next = Math.min(Math.max(width / factor, whole[2] / 12), whole[2]);
    x += across * (width - next);
    y += down * (height - (next * whole[3]) / whole[2]);
    [width, height] = [next, (next * whole[3]) / whole[2]];
    draw();
  };
  const move = (across, down) => { x += across * width; y += down * height; draw(); };
  const reset = () => { [x, y, width, height] = whole; draw(); };
  const name = figure.dataset.name;
  const tools = [["+", "Zoom in", () => zoom(1.5)], ["−", "Zoom out", () => zoom(1 / 1.5)], ["⟲", "Whole figure", reset]];
  const buttons = tools.map(([sign, words, act]) => {
    const button = make("button", { type: "button", title: words, "aria-label": `${words}: ${name}` }, sign);
    button.addEventListener("click", act);
    return button;
  });
  const bar = make("div", { class: "zoom", role: "group", "aria-label": `Zoom ${name}; arrow keys move` }, ...buttons);
  const steps = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
  bar.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || width === whole[2]) return;
    event.preventDefault();
    move(...steps[event.key]);
  });
  svg.after(bar);
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && width === whole[2]) return; // the page scrolls on, but over a figure that is zoomed in
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    const place = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...place);
  }, { passive: false });
  svg.addEventListener("pointermove", (event) => {
    point(figure, event);
    if (!(event.buttons & 1) || width === whole[2]) return;
    const box = svg.getBoundingClientRect();
    move(-event.movementX / box.width, -event.movementY / box.height);
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
}

document.querySelectorAll("figure:not([data-deflated])").forEach(zoomable);
