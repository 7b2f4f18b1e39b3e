"use strict";
// One scale of colours for all effects of a page: the same colour is the same effect, wherever it stands.

const STRONGEST = 0.72; // opacity of the strongest effect of the page

/** Whether a method may be shown as an explanation, as far as the page knows. */
function isShown(page, name) {
  const method = page.methods.find((one) => one.name === name);
  return method !== undefined && method.faithful !== false;
}

/** Effects of a card that may be shown. */
function shownEffects(page, card) {
  return card.effects.filter((row) => isShown(page, row.method) && row.faithful !== false);
}

/** The effect that has the strongest colour. */
function scaleOf(page) {
  let most = 0;
  for (const card of page.cards) {
    for (const row of shownEffects(page, card)) most = Math.max(most, Math.abs(row.effect));
    for (const [name, value] of Object.entries(card.predicted.contributions)) {
      if (name !== "reference") most = Math.max(most, Math.abs(value));
    }
  }
  for (const row of page.across ?? []) {
    if (isShown(page, row.method) && row.faithful !== false) most = Math.max(most, Math.abs(row.effect));
  }
  return most || 1;
}

/** Give an element the colour of an effect. */
function paint(element, effect, page) {
  element.classList.add("effect", effect < 0 ? "down" : "up");
  element.style.setProperty("--share", `${(100 * STRONGEST * Math.min(1, Math.abs(effect) / page.scale)).toFixed(2)}%`);
  element.dataset.effect = effect;
}

function paintWeight(element, weight) {
  element.classList.add("weight");
  element.style.setProperty("--share", `${(100 * STRONGEST * Math.min(1, weight)).toFixed(2)}%`);
  element.dataset.weight = weight;
}

function legendOf(page) {
  const steps = [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1];
  const boxes = steps.map((share) => {
    const box = h("span", { class: "swatch" });
    paint(box, share * page.scale, page);
    return box;
  });
  const end = (value) => page.log ? `${signed(value)} (${factor(value)})` : signed(value);
  return h("div", { class: "legend", role: "img", "aria-label": `Colours: blue lowers the prediction, orange raises it; the strongest is ${signed(page.scale)} ${page.learned_unit}` },
    h("span", null, "lowers ", h("b", null, end(-page.scale))), h("span", { class: "swatches" }, boxes),
    h("span", null, h("b", null, end(page.scale)), " raises"),
    h("span", { class: "note" }, page.learned_unit, page.learned_unit ? "; " : "", "one scale for all effects of the page"));
}

function weightLegend() {
  const boxes = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const box = h("span", { class: "swatch" });
    paintWeight(box, share);
    return box;
  });
  return h("div", { class: "legend" }, h("span", null, "weight 0"), h("span", { class: "swatches" }, boxes), h("span", null, "1"),
    h("span", { class: "note" }, "attention: where the network looks, no effect on the prediction"));
}
