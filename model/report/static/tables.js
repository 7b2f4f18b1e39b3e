"use strict";
// Tables that sort by a click on a heading, and copy as tab-separated values.

function cellValue(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = parseFloat(text.replace("−", "-").replace(/[,×]/g, ""));
  return Number.isNaN(number) || !/^[-−+×.\d]/.test(text) ? text.toLowerCase() : number;
}

function compareCells(a, b) {
  const first = typeof a === "number", second = typeof b === "number";
  if (first && second) return a - b;
  if (first !== second) return first ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

function sortBy(table, column, down) {
  for (const body of table.tBodies) {
    if (body.classList.contains("more")) { body.hidden = false; }
  }
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  rows.forEach((row, place) => { row.dataset.place ??= place; });
  rows.sort((a, b) => {
    const order = compareCells(cellValue(a.cells[column]), cellValue(b.cells[column]));
    return (down ? -order : order) || a.dataset.place - b.dataset.place;
  });
  table.tBodies[0].append(...rows);
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    if (place === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  const more = table.closest("section, div:not(.wide)")?.querySelector(".show-more");
  if (more && table.querySelector("tbody.more")) more.hidden = true;
}

async function copyText(text, button) {
  let done = false;
  if (navigator.clipboard && window.isSecureContext) {
    done = await navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  if (!done) { // pages from disk may have no clipboard of their own
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button?.focus();
  }
  if (button) {
    button.dataset.label ??= button.textContent;
    button.textContent = done ? "copied" : "cannot copy here";
    setTimeout(() => { button.textContent = button.dataset.label; }, 1500);
  }
}

function tableText(table) {
  const rows = [...table.rows].filter((row) => !row.hidden);
  return rows.map((row) => [...row.cells].map((cell) => (cell.dataset.value ?? cell.textContent).trim().replace(/\s+/g, " ").replace(/−/g, "-"))
    .join("\t")).join("\n") + "\n";
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.classList.contains("unsorted")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      sortBy(table, column, now ? now === "ascending" : head.classList.contains("n"));
    });
  });
  const tools = document.createElement("div"), copy = document.createElement("button");
  tools.className = "tools";
  copy.type = "button";
  copy.className = "quiet copy-table";
  copy.textContent = "copy table";
  copy.addEventListener("click", () => copyText(tableText(table), copy));
  tools.append(copy);
  (table.closest(".wide") ?? table).after(tools);
}

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const button of document.querySelectorAll(".show-more")) {
  button.addEventListener("click", () => {
    const table = button.closest("p").previousElementSibling;
    const where = table.matches(".wide") ? table : table.previousElementSibling; // tools stand between
    for (const body of where.querySelectorAll("tbody.more")) body.hidden = false;
    button.hidden = true;
  });
}
for (const input of document.querySelectorAll("input.filter")) {
  const table = input.closest("section").querySelector("table.filtered");
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of table.tBodies[0].rows) {
      const cells = [...row.cells].map((cell) => cell.textContent.toLowerCase());
      row.hidden = !words.every((word) => cells.some((cell) => cell.includes(word)));
    }
  };
  input.addEventListener("input", apply);
  apply();
}
