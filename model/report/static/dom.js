"use strict";
// Elements and numbers. Data reach the page as text nodes and attributes, never as markup.

/** An element with attributes and children; a child may be text, an element, or nothing. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
}

/** A number with so many significant digits. */
function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}

/** An effect, always with its sign. */
function signed(value) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value).toFixed(Math.abs(value) >= 10 ? 2 : 4);
  return (value < 0 ? "−" : "+") + text;
}

/** What an effect in log10 multiplies the property by. */
function factor(value) {
  return "×" + Math.pow(10, value).toPrecision(3);
}

function effectInWords(value, page) {
  return signed(value) + (page.log ? ` (${factor(value)})` : page.learned_unit ? ` ${page.learned_unit}` : "");
}

function formula(text) {
  return (text ?? "").split(/(\d+(?:\.\d+)?)/).map((part) => /^\d/.test(part) ? h("sub", null, part) : part);
}

/** A Hermann-Mauguin symbol: P6_3/mmc, Fm-3m. */
function spaceGroup(symbol) {
  return (symbol ?? "").split(/(_\d|-\d)/).map((part) =>
    part.startsWith("_") ? h("sub", null, part.slice(1)) : /^-\d/.test(part) ? h("span", { class: "bar-over" }, part.slice(1)) : part);
}

function withUnit(text, unit) {
  return unit ? `${text} ${unit}` : text;
}

/** A table that sorts and copies; cells are text, elements, or {text, value, class}. */
function sortable(heads, rows, label) {
  const table = h("table", { class: "sortable", "aria-label": label },
    h("thead", null, h("tr", null, heads.map((head) => h("th", { class: head.n ? "n" : head.unsorted ? "unsorted" : null, scope: "col" }, head.text)))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map((cell, place) => {
      const plain = cell === null || typeof cell !== "object" || cell instanceof Node || Array.isArray(cell);
      const td = h("td", { class: heads[place].n ? "n" : null, "data-value": plain ? null : cell.value }, plain ? cell : cell.text);
      return td;
    })))));
  const wide = h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label }, table);
  const whole = h("div", null, wide);
  makeSortable(table);
  return whole;
}

/** A row of radio buttons: arrow keys come with them. */
function radioSwitch(name, legend, options, chosen, onchange) {
  return h("fieldset", { class: "switch" }, h("legend", { class: "unseen" }, legend), options.map((option) =>
    h("label", { class: option.class ?? null, title: option.title ?? null },
      h("input", { type: "radio", name, value: option.value, checked: option.value === chosen, "aria-describedby": option.describedby ?? null,
        onchange: () => onchange(option.value) }),
      h("span", null, option.text, option.badge ? h("em", { class: `badge ${option.badge.kind}` }, option.badge.text) : null))));
}
