"use strict";
// A description whose facts can be pointed at, and whose pieces carry the colours of their effects.

const LEVELS = [["fact", "facts"], ["sentence", "sentences"], ["region", "regions"], ["token", "tokens"], ["atom", "atoms"]];
const plainName = (region) => (region ?? "").toLowerCase().replace(/[^a-z]/g, "");

/** The rows of a method at one level, each with the pieces of the text that it stands for. */
function piecesOf(card, rows) {
  return rows.flatMap((row) => {
    if (row.kind === "region") {
      const name = plainName(row.region ?? row.label);
      return card.sentences.filter(([, , region]) => plainName(region) === name).map(([start, end]) => ({ start, end, row }));
    }
    return row.start === null || row.start === undefined ? [] : [{ start: row.start, end: row.end, row }];
  });
}

function shortest(ranges, start, end) {
  let best = null;
  for (const range of ranges) {
    if (range.start <= start && end <= range.end && (best === null || range.end - range.start < best.end - best.start)) best = range;
  }
  return best;
}

/**
 * The description as elements. `pieces` are coloured by `paintPiece(element, row)`; `onPoint(fact index or null)` and
 * `onPick(fact index)` tell what is pointed at.
 */
function describe(card, pieces, paintPiece, onPoint, onPick) {
  const text = card.predicted.text ?? "";
  const facts = card.facts.map((fact, index) => ({ ...fact, index }));
  const cuts = new Set([0, text.length]);
  for (const { start, end } of [...facts, ...pieces]) { cuts.add(start); cuts.add(end); }
  for (const [start, end] of card.sentences) { cuts.add(start); cuts.add(end); }
  const places = [...cuts].filter((cut) => cut >= 0 && cut <= text.length).sort((a, b) => a - b);
  const paragraph = h("p", { class: "text" });
  let group = null, groupFact = null, reachable = new Set();
  for (let place = 0; place + 1 < places.length; place += 1) {
    const [start, end] = [places[place], places[place + 1]];
    const fact = shortest(facts, start, end), piece = shortest(pieces, start, end);
    let inner = document.createTextNode(text.slice(start, end));
    if (piece) {
      inner = h("span", { class: "piece" }, inner);
      paintPiece(inner, piece.row);
    }
    if (!fact) { groupFact = null; paragraph.append(inner); continue; }
    if (fact.index !== groupFact) {
      groupFact = fact.index;
      const first = !reachable.has(fact.index);
      reachable.add(fact.index);
      group = h("span", { class: "fact", "data-fact": fact.index, role: first ? "button" : null, tabindex: first ? "0" : null, "aria-pressed": first ? "false" : null,
        onpointerenter: (event) => { if (event.pointerType !== "touch") onPoint(fact.index); },
        onpointerleave: (event) => { if (event.pointerType !== "touch") onPoint(null); },
        onfocus: () => onPoint(fact.index), onblur: () => onPoint(null), onclick: () => onPick(fact.index),
        onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); onPick(fact.index); } } });
      paragraph.append(group);
    }
    group.append(inner);
  }
  return paragraph;
}

function lightFacts(paragraph, facts) {
  for (const element of paragraph.querySelectorAll(".fact")) element.classList.toggle("lit", facts.has(Number(element.dataset.fact)));
}
