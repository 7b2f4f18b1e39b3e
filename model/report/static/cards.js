"use strict";
// One card for each crystal. `renderCard(card, page)` makes one from plain data, wherever they come from.

/** What all cards of a page share: names, units, methods, and the one scale of colours. */
function preparePage(data) {
  const page = { ...data, methods: [...data.methods] };
  if (page.cards.some((card) => card.attention.length) && !page.methods.some((method) => method.name === "attention")) {
    page.methods.push({ name: "attention", says: "Where the network looks when it reads; this is no effect on the prediction.", faithful: null, evidence: "" });
  }
  page.scale = scaleOf(page);
  return page;
}

/** One weight for each sentence: the mean over the networks that read it. */
function meanWeights(rows) {
  const sums = new Map();
  for (const { sentence, weight } of rows) sums.set(sentence, [...(sums.get(sentence) ?? []), weight]);
  return [...sums].map(([sentence, weights]) => ({ sentence, weight: weights.reduce((sum, one) => sum + one, 0) / weights.length }));
}

const BADGES = { true: ["passed", "passed its tests"], false: ["failed", "failed its tests"] };

function badgeOf(method) {
  if (method.name === "attention") return { kind: "attention", text: "no explanation" };
  if (method.faithful === null && method.name !== "shapley") return { kind: "untested", text: "not tested" };
  const [kind, text] = BADGES[method.faithful] ?? ["exact", "needs no test"];
  return { kind, text };
}

function valueOf(predicted, page) {
  return withUnit(number(predicted.value, 3), page.unit);
}

function intervalOf(predicted, page) {
  const { low, high, confidence } = predicted;
  if (low === null || high === null || low === undefined || high === undefined) return "no interval: too few crystals validated this model";
  return `${Math.round(100 * confidence)} % interval ${number(low, 3)} – ${withUnit(number(high, 3), page.unit)}`;
}

function renderHead(card, page) {
  const predicted = card.predicted;
  const copy = h("button", { type: "button", class: "quiet copy-value", onclick: (event) => copyText(String(predicted.value), event.currentTarget) }, "copy");
  return h("header", { class: "card-head" },
    h("div", { class: "who" },
      h("h2", { tabindex: "-1" }, h("span", { class: "formula" }, formula(predicted.formula)), " ", h("span", { class: "group" }, spaceGroup(predicted.space_group))),
      h("p", { class: "id" }, predicted.name)),
    h("div", { class: "what" },
      h("p", { class: "value" }, h("span", { class: "said" }, `${page.target} `), h("b", null, number(predicted.value, 3)), page.unit ? h("span", { class: "unit" }, ` ${page.unit}`) : null, copy),
      h("p", { class: "ends" }, intervalOf(predicted, page)),
      predicted.learned?.value !== undefined && page.log ? h("p", { class: "note" }, `${predicted.learned.value.toFixed(3)} ${page.learned_unit}`) : null,
      card.true !== null ? h("p", { class: "truth" }, `true ${withUnit(number(card.true), page.unit)}`) : null),
    h("div", { class: "line" }, valueLine(card, page)));
}

function renderCalls(card) {
  const predicted = card.predicted;
  return h("div", { class: "calls" },
    predicted.trained_on ? h("p", { class: "call" }, h("b", null, "The model was trained on this crystal "), h("span", { class: "id" }, predicted.trained_on), ": it has seen the true value.") : null,
    predicted.warnings.map((warning) => h("p", { class: "call warning" }, warning)),
    Object.entries(predicted.flags).map(([kind, words]) => h("p", { class: "call flag" }, h("b", null, "The file: "), words, " ", h("span", { class: "id" }, kind))));
}

function neighboursTable(near, title, page) {
  if (!near.length) return null;
  const label = `Nearest training crystals by ${title}`;
  return h("div", null, h("h3", null, `By ${title}`), sortable(
    [{ text: "crystal" }, { text: "space group" }, { text: `true${page.unit ? " / " + page.unit : ""}`, n: true }, { text: "distance", n: true }, { text: "id" }],
    near.map((one) => [{ text: formula(one.formula), value: one.formula }, { text: spaceGroup(one.space_group), value: one.space_group }, number(one.value), number(one.distance, 3), h("span", { class: "id" }, one.material_id)]), label));
}

function renderNeighbours(card, page) {
  const tables = [neighboursTable(card.predicted.near_by_structure, "structure", page), neighboursTable(card.predicted.near_by_text, "text", page)];
  if (!tables.some(Boolean)) return null;
  return h("section", { class: "near" }, h("h3", { class: "head" }, "Nearest training crystals"), h("div", { class: "two" }, tables),
    h("p", { class: "note" }, "A distance of 1 is one standard deviation of the distances between random training crystals; 0 is the same vector."));
}

function renderWhatIf(card, page) {
  const given = card.predicted.what_if;
  if (!given) return null;
  const own = given.value, ownLearned = typeof given.learned === "object" && given.learned !== null ? given.learned.value : given.learned;
  const learned = card.predicted.learned?.value;
  const moved = learned !== undefined && ownLearned !== undefined ? learned - ownLearned : null;
  return h("section", { class: "what-if" }, h("h3", { class: "head" }, "What if"),
    h("p", null, given.change, ": ", h("b", null, valueOf(card.predicted, page)), ` instead of ${withUnit(number(own, 3), page.unit)} with its own text, `,
      h("b", { class: "difference" }, withUnit(`${card.predicted.value >= own ? "+" : "−"}${number(Math.abs(card.predicted.value - own), 3)}`, page.unit)),
      moved === null || !page.log ? "" : ` (${signed(moved)} ${page.learned_unit}, ${factor(moved)})`, "."));
}

/** The description with its switches; they and the picture light each other. */
function renderExplanation(card, page) {
  const state = { method: null, level: null, layer: "all", pinned: null };
  const uid = page.cards.indexOf(card);
  const textPlace = h("div", { class: "text-place" });
  const information = h("p", { class: "information", "aria-live": "polite" });
  const switches = h("div", { class: "switches" }), below = h("div", { class: "below" }), about = h("div", { class: "about-method", id: `about-${uid}` });
  let paragraph = h("p"), byFact = new Map();

  const show = (facts, atoms, words) => {
    lightFacts(paragraph, new Set(facts));
    crystal.light(atoms);
    information.replaceChildren(...(words ?? [hint()]));
  };
  const hint = () => h("span", { class: "note" }, card.facts.length ? "Point at a fact or an atom: each lights the other. A click or tap keeps it lit, one beside it lets go." : "Nothing in this text could be read as a fact.");
  const factWords = (index) => {
    const fact = card.facts[index], row = byFact.get(index);
    const elements = [...new Set(fact.atoms.map((atom) => card.shape.elements[atom]))];
    const counts = elements.map((element) => `${element} ×${fact.atoms.filter((atom) => card.shape.elements[atom] === element).length}`);
    return [h("b", null, fact.kind), fact.atoms.length ? `: atoms ${counts.join(", ")} of the cell` : ": no particular atoms",
      row ? h("span", { class: "its-effect" }, `; effect ${effectInWords(row.effect, page)}${row.spread === null || row.spread === undefined ? "" : `, spread ${number(row.spread, 2)}`}`) : ""];
  };
  const showFact = (index) => show([index], card.facts[index].atoms, factWords(index));
  const showAtoms = (atoms) => {
    const facts = card.facts.flatMap((fact, index) => (fact.atoms.some((atom) => atoms.includes(atom)) ? [index] : []));
    const alike = card.shape.orbit.filter((orbit) => orbit === card.shape.orbit[atoms[0]]).length;
    const row = shownEffects(page, card).find((one) => one.kind === "atom" && one.method === state.method && (one.atoms ?? []).includes(atoms[0]));
    show(facts, atoms, [h("b", null, card.shape.elements[atoms[0]]), `: ${alike} alike by symmetry; ${facts.length} fact${facts.length === 1 ? "" : "s"} of the text speak${facts.length === 1 ? "s" : ""} of ${atoms.length === 1 ? "it" : "them"}`,
      row ? `; effect ${effectInWords(row.effect, page)}` : ""]);
  };
  const rest = () => (state.pinned ? state.pinned() : show([], []));
  const pressed = () => {
    for (const button of root.querySelectorAll("[aria-pressed]")) {
      const fact = button.dataset.fact === undefined ? null : `fact ${button.dataset.fact}`;
      button.setAttribute("aria-pressed", String(state.pinned !== null && (fact ?? `atoms ${button.dataset.atoms}`) === state.name));
    }
  };
  const pin = (name, what) => {
    const again = state.pinned && state.name === name;
    state.pinned = again ? null : what;
    state.name = again ? null : name;
    pressed();
    rest();
  };
  const pointFact = (index) => (index === null ? rest() : showFact(index));
  const pickFact = (index) => pin(`fact ${index}`, () => showFact(index));
  const pointAtoms = (atoms) => (atoms === null ? rest() : showAtoms(atoms));
  const pickAtoms = (atoms) => pin(`atoms ${atoms.join(" ")}`, () => showAtoms(atoms));
  const crystal = crystalPanel(card.shape, card.predicted.formula ?? card.predicted.name, page, pointAtoms, pickAtoms);

  const rowsOf = (method) => shownEffects(page, card).filter((row) => row.method === method.name);
  const levelsOf = (method) => LEVELS.filter(([kind]) => rowsOf(method).some((row) => row.kind === kind));

  const redraw = () => {
    const method = page.methods.find((one) => one.name === state.method);
    const shown = method && isShown(page, method.name);
    const attention = method?.name === "attention" && card.attention.length > 0;
    const levels = shown ? levelsOf(method) : [];
    if (!levels.some(([kind]) => kind === state.level)) state.level = levels[0]?.[0] ?? null;
    const rows = shown && state.level ? rowsOf(method).filter((row) => row.kind === state.level) : [];
    let pieces = piecesOf(card, rows), painted = (element, row) => paint(element, row.effect, page);
    if (attention) {
      const weights = meanWeights(card.attention.filter((one) => (state.layer === "all" ? one.layer === null : `${one.layer}/${one.head}` === state.layer)));
      pieces = weights.map((one) => ({ start: card.sentences[one.sentence][0], end: card.sentences[one.sentence][1], row: one }));
      painted = (element, row) => paintWeight(element, row.weight);
    }
    byFact = new Map();
    for (const row of rows.filter((one) => one.kind === "fact")) {
      const index = card.facts.findIndex((fact) => fact.start === row.start && fact.end === row.end);
      if (index >= 0) byFact.set(index, row);
    }
    paragraph = describe(card, pieces, painted, pointFact, pickFact);
    textPlace.replaceChildren(paragraph);
    crystal.colour(shown && state.level === "atom" ? new Map(rows.flatMap((row) => (row.atoms ?? []).map((atom) => [atom, row.effect]))) : null);
    about.replaceChildren(...aboutMethod(method));
    below.replaceChildren(...[
      levels.length > 1 ? h("div", { class: "level" }, radioSwitch(`level-${uid}`, "What is coloured", levels.map(([value, text]) => ({ value, text })), state.level, (value) => { state.level = value; redraw(); root.querySelector(`input[name=level-${uid}]:checked`).focus(); })) : null,
      attention ? layerSwitch(weightsOf(card)) : null,
      attention ? weightLegend() : shown && rows.length ? legendOf(page) : null,
      shown && rows.length ? h("details", null, h("summary", null, "as a table"), effectsTable(rows)) : null,
      attention ? h("details", null, h("summary", null, "as a table"), attentionTable(pieces)) : null].filter(Boolean));
    rest();
  };
  const aboutMethod = (method) => {
    if (!method) return [];
    const failed = method.faithful === false;
    return [failed ? h("p", { class: "call reason" }, h("b", null, "Not shown as an explanation of this model. "), method.evidence) : null,
      h("p", { class: "note" }, method.says),
      !failed && method.evidence ? h("p", { class: "note evidence" }, method.faithful === true ? "Tests: " : "", method.evidence) : null].filter(Boolean);
  };
  const weightsOf = (one) => [...new Set(one.attention.filter((row) => row.layer !== null).map((row) => `${row.layer}/${row.head}`))];
  const layerSwitch = (names) => {
    if (!names.length) return null;
    const select = h("select", { onchange: (event) => { state.layer = event.target.value; redraw(); root.querySelector("select").focus(); } },
      h("option", { value: "all" }, "rolled out over all layers"), names.map((name) => h("option", { value: name }, `layer ${name.split("/")[0]}, head ${name.split("/")[1]}`)));
    select.value = state.layer;
    return h("label", { class: "level" }, "attention of ", select);
  };
  const effectsTable = (rows) => sortable(
    [{ text: "piece" }, { text: "kind" }, { text: `effect${page.learned_unit ? " / " + page.learned_unit : ""}`, n: true }, ...(page.log ? [{ text: "factor", n: true }] : []), { text: "spread", n: true }],
    [...rows].sort((a, b) => a.index - b.index).map((row) => [row.label, row.fact ?? row.kind, { text: signed(row.effect), value: row.effect }, ...(page.log ? [factor(row.effect)] : []), number(row.spread, 2)]), "Effects");
  const attentionTable = (pieces) => sortable([{ text: "sentence" }, { text: "weight", n: true }],
    pieces.map(({ start, end, row }) => [(card.predicted.text ?? "").slice(start, end), { text: row.weight.toFixed(3), value: row.weight }]), "Attention");

  const offered = page.methods.filter((method) => method.name === "attention" ? card.attention.length > 0 : true);
  state.method = (offered.find((method) => method.faithful === true) ?? offered.find((method) => method.faithful === null) ?? offered[0])?.name ?? null;
  if (offered.length) {
    switches.append(radioSwitch(`method-${uid}`, "Method", offered.map((method) => ({ value: method.name, text: method.name, badge: badgeOf(method), class: method.faithful === false ? "is-failed" : null, describedby: `about-${uid}` })), state.method, (value) => { state.method = value; redraw(); }));
  }
  const bars = shapleyBars(card, page);
  const root = h("div", { class: "explanation" },
    h("div", { class: "side" }, crystal.panel),
    h("div", { class: "reading" },
      bars ? h("section", null, h("h3", { class: "head" }, "From the reference to the prediction"), bars,
        h("p", { class: "note" }, "Shapley values of the structure and of the three regions of the text: they add up to the difference from the reference.")) : null,
      card.predicted.text ? h("section", { class: "told" }, h("h3", { class: "head" }, "What the text says"), switches, about, textPlace, information, below) : h("p", { class: "call" }, "This crystal has no description, so there is no text to explain by.")));
  const letGo = () => { state.pinned = state.name = null; pressed(); show([], []); };
  root.addEventListener("keydown", (event) => { if (event.key === "Escape") letGo(); });
  textPlace.addEventListener("click", (event) => { if (!event.target.closest(".fact")) letGo(); });
  redraw();
  return { root, crystal };
}

/** All of one crystal. `start()` draws the picture, once the card stands in the page; `stop()` gives it back. */
function renderCard(card, page) {
  if (card.predicted.error) {
    return { root: h("article", { class: "card" }, h("h2", { class: "id", tabindex: "-1" }, card.predicted.name), h("p", { class: "call" }, card.predicted.error)), start: () => {}, stop: () => {} };
  }
  const explanation = renderExplanation(card, page);
  const root = h("article", { class: "card", "aria-label": card.predicted.formula }, renderHead(card, page), renderCalls(card), explanation.root, renderWhatIf(card, page), renderNeighbours(card, page));
  return { root, start: explanation.crystal.start, stop: explanation.crystal.stop, crystal: explanation.crystal };
}

function overview(page, open) {
  const heads = [{ text: "crystal" }, { text: "space group" }, { text: `${page.target}${page.unit ? " / " + page.unit : ""}`, n: true }, { text: "interval", n: true }, { text: "true", n: true }, { text: "notes" }];
  const rows = page.cards.map((card, index) => {
    const predicted = card.predicted;
    const button = h("button", { type: "button", class: "open", "data-index": index, onclick: () => open(index, true) }, predicted.formula ? formula(predicted.formula) : predicted.name);
    const notes = predicted.error ? predicted.error : [predicted.trained_on ? "trained on it" : null, predicted.warnings.length ? `${predicted.warnings.length} warning${predicted.warnings.length === 1 ? "" : "s"}` : null].filter(Boolean).join(", ");
    return [{ text: [button, h("span", { class: "id" }, predicted.name)], value: predicted.formula ?? predicted.name }, { text: spaceGroup(predicted.space_group), value: predicted.space_group ?? "" }, number(predicted.value, 3),
      predicted.low === null || predicted.low === undefined ? "none" : `${number(predicted.low, 3)} – ${number(predicted.high, 3)}`, number(card.true), notes];
  });
  return sortable(heads, rows, "Predictions");
}

/** Draw a page of cards from its data. */
function showCards(data) {
  const page = preparePage(data), place = document.getElementById("card"), list = document.getElementById("overview");
  let now = null;
  const open = (index, byHand) => {
    now?.stop();
    now = renderCard(page.cards[index], page);
    place.replaceChildren(now.root);
    now.start();
    for (const button of list.querySelectorAll("button.open")) {
      if (Number(button.dataset.index) === index) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    if (byHand) {
      history.replaceState(null, "", `#${index + 1}`);
      now.root.querySelector("h2").focus({ preventScroll: true });
      now.root.scrollIntoView({ block: "start" });
    }
    window.shownCard = now;
  };
  document.getElementById("across").replaceChildren(...[renderAcross(page)].filter(Boolean));
  list.replaceChildren(...(page.cards.length > 1 ? [overview(page, open)] : []));
  if (!page.cards.length) { place.replaceChildren(h("p", null, "There is no crystal to explain.")); return; }
  const asked = Number(location.hash.slice(1)) - 1;
  open(page.cards[asked] ? asked : 0, false);
}

const given = document.getElementById("data");
if (given) showCards(JSON.parse(given.textContent));
