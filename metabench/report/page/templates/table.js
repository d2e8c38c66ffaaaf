// Tables that are sorted by a click on a header and filtered by what is typed.
// A cell is sorted by its data-value, or else by its text; what is not known comes last in both directions.

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function valueOf(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text === "" || isNaN(text) ? text : Number(text);
}

function order(a, b, direction) {
  if (a === "" || b === "") return (a === "") - (b === "");
  if (typeof a === "number" && typeof b === "number") return direction * (a - b);
  return direction * String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sortBy(table, header) {
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [valueOf(row.cells[header.cellIndex]), row]);
  keyed.sort((a, b) => order(a[0], b[0], direction));
  body.append(...keyed.map(([, row]) => row));
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
}

function sortable(table) {
  for (const header of table.tHead.rows[0].cells) {
    const button = make("button", { type: "button", class: "sort" }, ...header.childNodes);
    button.addEventListener("click", () => sortBy(table, header));
    header.append(button);
  }
}

// A row is shown if it has every word that is typed, and the chosen text in the column of each menu.
function filterable(table, name, columns = []) {
  const rows = [...table.tBodies[0].rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const search = make("input", { type: "search", placeholder: "Filter", "aria-label": `Filter ${name}` });
  const menus = columns.map((column) => {
    const title = table.tHead.rows[0].cells[column].textContent;
    const found = [...new Set(rows.map((row) => row.cells[column].textContent))].sort();
    const options = found.map((text) => make("option", { value: text }, text));
    return make("select", { "aria-label": title }, make("option", { value: "" }, `any ${title}`), ...options);
  });
  const count = make("output", { class: "quiet" });
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const chosen = menus.every((menu, i) => !menu.value || row.cells[columns[i]].textContent === menu.value);
      row.hidden = !(chosen && words.every((word) => texts.get(row).includes(word)));
      shown += !row.hidden;
    }
    count.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  };
  for (const field of [search, ...menus]) field.addEventListener("input", apply);
  apply();
  table.closest(".scroll").before(make("div", { class: "filters" }, search, ...menus, count));
}

// A cell of all pairs says whose difference it is.
for (const cell of document.querySelectorAll(".versus td[title]")) {
  const column = cell.closest("table").tHead.rows[0].cells[cell.cellIndex].textContent;
  cell.title = `${cell.parentNode.cells[0].textContent} minus ${column}: ${cell.title}`;
}

document.documentElement.classList.add("live");
for (const table of document.querySelectorAll("table.sortable")) {
  sortable(table);
  if (table.tBodies[0].rows.length > 8) filterable(table, table.closest(".scroll").ariaLabel);
}
