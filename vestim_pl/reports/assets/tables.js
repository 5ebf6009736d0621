// Makes the tables of class "sortable" sort by the column whose heading is pressed.

function makeTablesSortable() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sortBy(table, heads, place));
    });
  }
}

function sortBy(table, heads, place) {
  const down = heads[place].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[place].setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].filter((row) => !row.classList.contains("total"));
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const keyed = rows.map((row) => [key(row.cells[place]), row]);
  keyed.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // a missing value is last either way
    const order = typeof a === "number" && typeof b === "number" ? a - b : compare(a, b);
    return down ? -order : order;
  });
  body.prepend(...keyed.map(([, row]) => row));
}

/** Value of a cell: the full number of a <data>, a number, or its words. */
function key(cell) {
  const text = cell.querySelector("data")?.value ?? cell.textContent.trim();
  const number = Number(text);
  return text === "" || text === "nan" ? "" : text === "inf" ? Infinity : Number.isNaN(number) ? text : number;
}
