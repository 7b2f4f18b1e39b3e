"use strict";
// A description that can be edited, sentence by sentence, while the prediction moves.

const AFTER_TYPING = 350; // ms

/** The sentences of a card's own description. */
function ownSentences(card) {
  return card.sentences.map(([start, end]) => card.predicted.text.slice(start, end));
}

const asWords = (text) => text.trim().replace(/\s+/g, " ");

/** Which rows differ from the sentences that they stand for. */
function changedRows(own, rows) {
  return rows.flatMap((row, place) => (asWords(row) === asWords(own[place] ?? "") ? [] : [place]));
}

/** A change of the prediction in words, in both units. */
function moveInWords(difference, page) {
  const sign = difference.value < 0 ? "−" : "+";
  const inUnit = withUnit(`${sign}${number(Math.abs(difference.value), 3)}`, page.unit);
  return page.log ? `${inUnit} (${factor(difference.learned)})` : inUnit;
}

/**
 * The editor of a card's description. `rows`: sentences as they were left, or null. `ask(rows, signal)` gives the
 * server's answer for edited sentences; `onEdited(rows, answer)` is told of each answer, with nulls for the crystal's own.
 */
function renderEditor(card, page, rows, ask, onEdited) {
  const own = ownSentences(card), now = [...(rows ?? own)];
  const list = h("ol", { class: "sentences" }), moves = h("div", { class: "moves", role: "status" });
  let timer = null, running = null, lines = [];

  const say = (...words) => moves.replaceChildren(...words);
  const rest = () => say(h("span", { class: "now" }, valueOf(card.predicted, page)),
    h("p", { class: "note" }, "This is its own text. Change, empty or add sentences: the prediction follows, and beside each changed sentence stands what its change does, after those above it."));
  const grow = (area) => {
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight + 2}px`;
  };
  const showSteps = (steps) => {
    const byRow = new Map(steps);
    lines.forEach((line, place) => {
      const changed = asWords(now[place]) !== asWords(own[place] ?? "");
      line.item.classList.toggle("changed", changed);
      line.by.replaceChildren();
      if (!changed) return;
      const effect = byRow.get(place);
      if (effect !== undefined) {
        const mark = h("span", { class: "step" }, page.log ? `${signed(effect)} (${factor(effect)})` : signed(effect));
        paint(mark, effect, page);
        line.by.append(mark);
      }
      if (place < own.length) line.by.append(h("button", { type: "button", class: "quiet undo", onclick: () => { now[place] = own[place]; line.area.value = own[place]; grow(line.area); line.area.focus(); edited(0); } }, "restore"));
    });
  };
  const update = async () => {
    running?.abort();
    if (!changedRows(own, now).length) { showSteps([]); rest(); onEdited(null, null); return; }
    const mine = running = new AbortController();
    try {
      const answer = await ask(now, mine.signal);
      if (mine.signal.aborted) return;
      const { predicted } = answer, difference = predicted.what_if.difference;
      say(h("span", { class: "now" }, valueOf(predicted, page)), " ", h("span", { class: "moved" }, moveInWords(difference, page)),
        h("p", { class: "note" }, `${intervalOf(predicted, page)}; with its own text ${valueOf(card.predicted, page)}`));
      showSteps(answer.steps);
      onEdited([...now], answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      say(h("p", { class: "problem" }, error.message));
      showSteps([]);
    }
  };
  const edited = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(update, wait);
  };
  const addLine = (text, place) => {
    const area = h("textarea", { rows: 1, spellcheck: "false", "aria-label": place < own.length ? `sentence ${place + 1}` : "added sentence", maxlength: page.limits.text_characters, placeholder: place < own.length ? "taken out" : "another sentence",
      oninput: () => { now[place] = area.value; grow(area); edited(AFTER_TYPING); } });
    area.value = text;
    const by = h("div", { class: "moved-by" }), item = h("li", { class: "sentence" }, area, by);
    lines.push({ item, area, by });
    list.append(item);
    return area;
  };
  const growAll = () => lines.forEach((line) => grow(line.area));
  const fill = () => {
    lines = [];
    list.replaceChildren();
    now.forEach(addLine);
    growAll();
  };
  const restore = () => {
    now.splice(0, now.length, ...own);
    fill();
    edited(0);
  };
  const tools = h("div", { class: "editor-tools" },
    h("button", { type: "button", class: "quiet add", onclick: () => { now.push(""); const area = addLine("", now.length - 1); grow(area); area.focus(); } }, "add a sentence"),
    h("button", { type: "button", class: "quiet restore", onclick: restore }, "restore the crystal’s own text"));
  const root = h("div", { class: "editor" }, moves, list, tools);
  rest();
  return {
    root, restore,
    start: () => { // sizes are known once it stands in the page
      fill();
      window.addEventListener("resize", growAll);
      if (rows) edited(0);
    },
    stop: () => { clearTimeout(timer); running?.abort(); window.removeEventListener("resize", growAll); },
  };
}
