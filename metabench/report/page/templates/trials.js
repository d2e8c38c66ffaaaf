// The table of trials, and the dialog with what is known of one. All text is set as text, never as markup.

const data = JSON.parse(document.getElementById("trials-data").textContent);
const names = [...document.querySelectorAll("table.trials thead th")].map((header) => header.dataset.name);
const dialog = document.getElementById("trial");

function definitions(pairs) {
  return make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, make("bdi", {}, value))]));
}

function curve(points) {
  const head = ["update", "training s", "training loss", "validation score"].map((text) => make("th", { scope: "col" }, text));
  const rows = points.map((values) => make("tr", {}, ...values.map((value) => make("td", {}, value ?? "–"))));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "End of the curve" }, table);
}

function describe(trial) {
  const of = (place) => data.pool[place];
  const [algorithm, suite, rest] = trial.settings.map(of);
  const status = [["status", trial.cells[names.indexOf("status")]], ["tested state", of(trial.selection)], ["finished", trial.finished || "–"]];
  const tests = trial.tests.map(([protocol, metric, shown]) => [`${metric}, ${protocol}`, shown]);
  const parts = [["Result", definitions([...tests, ...status])]];
  if (trial.log !== null)
    parts.push(["Log", make("pre", { tabindex: "0", role: "region", "aria-label": "Log" }, of(trial.log))]);
  parts.push(
    ["Algorithm's parameters", algorithm.length ? definitions(algorithm) : "none"],
    ["Suite's parameters", suite.length ? definitions(suite) : "none"],
    ["Other settings", definitions(rest)],
  );
  if (trial.curve.length) parts.push(["End of the curve", curve(trial.curve)]);
  parts.push(["Environment", definitions(trial.environment.map(of))]);
  document.getElementById("trial-name").textContent = trial.cells[0];
  const content = parts.flatMap(([title, body]) => [make("h3", {}, title), body]);
  document.getElementById("trial-details").replaceChildren(...content);
  dialog.showModal();
  dialog.scrollTop = 0;
}

function cell(value, index) {
  if (index === 0) return make("td", {}, make("button", { type: "button" }, value));
  if (Array.isArray(value)) return make("td", { "data-value": value[1] ?? "" }, value[0]);
  return make("td", {}, make("bdi", {}, value));
}

const table = document.querySelector("table.trials");
for (const trial of data.trials) {
  const row = make("tr", {}, ...trial.cells.map(cell));
  row.addEventListener("click", () => describe(trial));
  table.tBodies[0].append(row);
}
sortable(table);
filterable(table, "trials", ["algorithm", "suite", "status"].map((name) => names.indexOf(name)));
document.getElementById("trial-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
