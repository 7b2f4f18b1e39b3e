"use strict";
// The prediction on a line, and what leads to it from the reference.

/** The interval, the prediction, and what else is known, on one line in the learned unit. */
function valueLine(card, page) {
  const learned = card.predicted.learned ?? {};
  const toLearned = (value) => value === null || value === undefined ? null : page.log ? (value > 0 ? Math.log10(value) : null) : value;
  const marks = [
    { name: "true", at: toLearned(card.true), class: "m-true", natural: card.true },
    { name: "by structure alone", at: learned.structure_only ?? toLearned(card.predicted.structure_only), class: "m-structure", natural: card.predicted.structure_only },
    { name: "by text alone", at: learned.text_only ?? toLearned(card.predicted.text_only), class: "m-text", natural: card.predicted.text_only },
    { name: "predicted", at: learned.value ?? toLearned(card.predicted.value), class: "m-value", natural: card.predicted.value },
  ].filter((mark) => mark.at !== null && mark.at !== undefined);
  if (marks.length === 0) return null;
  const low = learned.low ?? toLearned(card.predicted.low), high = learned.high ?? toLearned(card.predicted.high);
  const ends = [...marks.map((mark) => mark.at), low, high].filter((value) => value !== null && value !== undefined);
  const least = Math.min(...ends), most = Math.max(...ends), edge = (most - least) * 0.06 || 0.5;
  const x = (value) => (1000 * (value - least + edge) / (most - least + 2 * edge)).toFixed(1);
  const drawing = svg("svg", { class: "value-line", viewBox: "0 0 1000 28", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("line", { class: "m-axis", x1: 0, x2: 1000, y1: 14, y2: 14 }));
  if (low !== null && low !== undefined && high !== null && high !== undefined) {
    drawing.append(svg("rect", { class: "m-interval", x: x(low), width: x(high) - x(low), y: 8, height: 12 }));
  }
  for (const mark of marks) drawing.append(svg("line", { class: mark.class, x1: x(mark.at), x2: x(mark.at), y1: 1, y2: 27 }));
  return h("div", { class: "on-a-line" }, drawing, h("p", { class: "keys" }, marks.reverse().map((mark) =>
    h("span", { class: `key ${mark.class}` }, `${mark.name} ${withUnit(number(mark.natural, mark.name === "true" ? 4 : 3), page.unit)}`))));
}

const PARTS = [["structure", "structure"], ["global", "text: whole crystal"], ["semi-global", "text: how parts connect"], ["local", "text: surroundings of sites"]];

/** Shapley values as steps from the reference to the prediction. */
function shapleyBars(card, page) {
  const given = card.predicted.contributions ?? {};
  const value = (name) => given[name] ?? given[name.replace("-", "")];
  const steps = PARTS.filter(([name]) => value(name) !== undefined);
  if (steps.length === 0 || given.reference === undefined) return null;
  let sum = given.reference;
  const bars = steps.map(([name, words]) => {
    const from = sum;
    sum += value(name);
    return { words, from, to: sum, effect: value(name) };
  });
  const all = [given.reference, ...bars.map((bar) => bar.to)];
  const least = Math.min(...all), most = Math.max(...all), edge = (most - least) * 0.03 || 0.5;
  const x = (at) => 1000 * (at - least + edge) / (most - least + 2 * edge);
  const total = (at) => (page.log ? at.toFixed(3).replace("-", "−") : withUnit(number(at), page.unit)) + natural(at);
  const natural = (at) => page.log ? ` = ${withUnit(number(Math.pow(10, at), 3), page.unit)}` : "";
  const track = (bar) => {
    const drawing = svg("svg", { viewBox: "0 0 1000 18", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("line", { class: "m-axis", x1: x(given.reference), x2: x(given.reference), y1: 0, y2: 18 }));
    if (bar) {
      const rect = svg("rect", { x: Math.min(x(bar.from), x(bar.to)).toFixed(1), width: Math.max(1.5, Math.abs(x(bar.to) - x(bar.from))).toFixed(1), y: 2, height: 14 });
      paint(rect, bar.effect, page);
      drawing.append(rect);
    }
    return drawing;
  };
  const line = (words, bar, text) => h("div", { class: `step-row${bar ? "" : " total"}` }, h("span", null, words), track(bar), h("span", { class: "n" }, text));
  return h("div", { class: "shapley", role: "group", "aria-label": "Shapley values" },
    line("reference", null, total(given.reference)),
    bars.map((bar) => line(bar.words, bar, effectInWords(bar.effect, page))),
    line("prediction", null, total(sum)));
}
