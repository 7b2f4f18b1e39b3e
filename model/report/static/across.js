"use strict";
// Which facts carry the property: their mean effects over many crystals, each with its interval.

const SHOWN_FACTS = 24;

function effectLine(row, ends, page) {
  const [least, most] = ends, x = (value) => (1000 * (value - least)) / (most - least);
  const low = row.low ?? row.effect, high = row.high ?? row.effect;
  const bar = svg("rect", { x: Math.min(x(0), x(row.effect)).toFixed(1), width: Math.max(1.5, Math.abs(x(row.effect) - x(0))).toFixed(1), y: 2, height: 12 });
  paint(bar, row.effect, page);
  return svg("svg", { class: "across-line", viewBox: "0 0 1000 16", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("line", { class: "m-axis", x1: x(0), x2: x(0), y1: 0, y2: 16 }), bar,
    svg("line", { class: "m-ends", x1: x(low), x2: x(high), y1: 8, y2: 8 }));
}

/** How far from zero the nearer end of an interval is: the surest effects come first. */
function surely(row) {
  return Math.max(row.low ?? -Infinity, -(row.high ?? Infinity));
}

/** The section of facts across crystals; nothing where no method may speak. */
function renderAcross(page) {
  const shown = (page.across ?? []).filter((row) => isShown(page, row.method) && row.faithful !== false);
  if (!shown.length) return null;
  const names = [...new Set(shown.map((row) => row.method))], place = h("div");
  const draw = (name) => {
    const rows = shown.filter((row) => row.method === name).sort((a, b) => surely(b) - surely(a));
    const values = rows.slice(0, SHOWN_FACTS).flatMap((row) => [0, row.effect, row.low ?? row.effect, row.high ?? row.effect]);
    const ends = [Math.min(...values), Math.max(...values)];
    if (ends[0] === ends[1]) ends[1] += 1;
    const table = (some) => sortable(
      [{ text: "fact" }, { text: "kind" }, { text: "from lower to higher", unsorted: true }, { text: `mean effect${page.learned_unit ? " / " + page.learned_unit : ""}`, n: true },
        ...(page.log ? [{ text: "factor", n: true }] : []), { text: "interval", n: true }, { text: "crystals", n: true }, { text: "raised", n: true }],
      some.map((row) => [row.label, row.fact, effectLine(row, ends, page), { text: signed(row.effect), value: row.effect }, ...(page.log ? [factor(row.effect)] : []),
        row.low === null || row.low === undefined ? "–" : { text: `${signed(row.low)} … ${signed(row.high)}`, value: row.low }, String(row.crystals), { text: `${Math.round(100 * row.share_raised)} %`, value: row.share_raised }]), "Effects of facts over the test crystals");
    const more = rows.length > SHOWN_FACTS ? h("button", { type: "button", class: "quiet", onclick: () => place.replaceChildren(table(rows)) }, `all ${rows.length}`) : null;
    place.replaceChildren(...[table(rows.slice(0, SHOWN_FACTS)), more].filter(Boolean));
  };
  draw(names[0]);
  return h("section", { class: "across" }, h("h2", null, "Which facts carry the property"),
    h("p", null, "Mean effect of a fact over the test crystals whose text states it, with an interval of 95 % over crystals and over what replaces the fact; of many such intervals one in twenty misses. “Formula with X” is the effect of the whole formula where X is in it."),
    names.length > 1 ? radioSwitch("across-method", "Method", names.map((name) => ({ value: name, text: name })), names[0], draw) : h("p", { class: "note" }, `By ${names[0]}.`),
    place);
}
