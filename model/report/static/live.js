"use strict";
// The live page: files are dropped, the server answers, and each crystal becomes a card. All state is in here.

const live = JSON.parse(document.getElementById("live").textContent);
const { limits } = live;
const entries = []; // of each dropped file: {name, file, state, digest, card, explained, rows, edited, problem, row}
let shown = null; // {entry, view, editor}

const place = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const pageNow = () => preparePage({ ...live, cards: entries.filter((entry) => entry.card).map((entry) => entry.card) });

/** A request to the server. Throws an `Error` with what it says is wrong, and `status`. */
async function ask(path, content, signal) {
  const raw = content instanceof Blob;
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, { method: "POST", signal, body: raw ? content : JSON.stringify(content), credentials: "omit", headers: { "Content-Type": raw ? "application/octet-stream" : "application/json" } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw Object.assign(new Error(raw && !(await content.slice(0, 1).arrayBuffer().catch(() => null)) ? "The file cannot be read; if it is a folder, drop the files in it." : "The server does not answer. Does it still run?"), { status: 0 });
    }
    if (answer.ok) return answer;
    if (answer.status === 429 || answer.status === 503) { await pause(1000); continue; }
    const said = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(said.error ?? `The server answered ${answer.status}.`), { status: answer.status });
  }
}

/** Its content. Throws an `Error` where the answer is that nothing can be predicted. */
async function contentOf(answer) {
  const content = await answer.json();
  if (content.error) throw new Error(content.error);
  return content;
}

async function describeFile(entry) {
  const { digest, card } = await contentOf(await ask(`/api/crystal?name=${encodeURIComponent(entry.name.slice(-limits.name_characters))}`, entry.file));
  entry.digest = digest;
  return card;
}

/** The same for a crystal that the server may have forgotten: then its file is sent again. */
async function askAgain(entry, path, content, signal) {
  try {
    return await ask(path, content(), signal);
  } catch (error) {
    if (error.status !== 404) throw error;
    await describeFile(entry);
    return ask(path, content(), signal);
  }
}

// what waits, in the order of its dropping; a few at once

let describing = 0, explaining = false;

function pump() {
  while (describing < limits.at_once) {
    const entry = entries.find((one) => one.state === "waits");
    if (!entry) break;
    describing += 1;
    entry.state = "reads";
    drawRow(entry);
    read(entry).finally(() => { describing -= 1; pump(); });
  }
  if (!explaining) {
    const entry = [shown?.entry, ...entries].find((one) => one?.state === "predicted" && !one.explained);
    if (entry) {
      explaining = true;
      explain(entry).finally(() => { explaining = false; pump(); });
    }
  }
  tell();
}

async function read(entry) {
  try {
    entry.card = await describeFile(entry);
    entry.state = "predicted";
  } catch (error) {
    fail(entry, error);
  }
  if (!entries.includes(entry)) return;
  drawRow(entry);
  if (entry.card && !shown) open(entry, false);
}

function fail(entry, error) {
  entry.state = "failed";
  entry.problem = error.message;
}

async function explain(entry) {
  try {
    const { card } = await contentOf(await askAgain(entry, "/api/explanation", () => [{ name: entry.name, digest: entry.digest }]));
    entry.card = card;
    entry.explained = true;
  } catch (error) {
    entry.explained = true; // once is enough: the prediction stands
    entry.unexplained = error.message;
  }
  if (shown?.entry !== entry) return;
  if (shown.editing) shown.stale = true; // what somebody is writing stays where it is
  else redrawCard();
}

function take(files) {
  const refused = [];
  for (const file of files) {
    if (entries.length >= limits.crystals) { refused.push(`${file.name}: there are ${limits.crystals} on this page already`); continue; }
    const entry = { name: file.name, file, state: "waits", row: h("tr") };
    if (file.size > limits.file_bytes) fail(entry, new Error(`larger than ${limits.file_bytes / 1e6} MB: no crystal file that can be used is`));
    entries.push(entry);
    place("rows").append(entry.row);
    drawRow(entry);
  }
  takeRefused = refused.length ? `${refused.length} file${refused.length === 1 ? " was" : "s were"} not taken: ${refused[0]}` : "";
  document.body.classList.toggle("has-files", entries.length > 0);
  pump();
}
let takeRefused = "";

// the table

const SAID = { waits: "waits", reads: "is read and described …" };

/** What is wrong with a file, without the short name of the problem that tables have. */
const inWords = (problem) => problem.replace(/^[a-zA-Z_]+: /, "").replace(/^./, (first) => first.toUpperCase());

function drawRow(entry) {
  const { row, card } = entry, predicted = card?.predicted;
  const remove = h("td", { class: "n" }, h("button", { type: "button", class: "remove", "aria-label": `remove ${entry.name}`, title: "remove", onclick: () => removeEntry(entry) }, "×"));
  row.className = entry.state;
  if (!predicted) {
    row.replaceChildren(h("td", null, h("span", { class: "id" }, entry.name)), h("td", { colspan: 4 }, h("span", { class: entry.problem ? "problem" : "waits" }, entry.problem ? inWords(entry.problem) : SAID[entry.state])), remove);
    return;
  }
  const notes = [predicted.trained_on ? "trained on it" : null, predicted.warnings.length ? `${predicted.warnings.length} warning${predicted.warnings.length === 1 ? "" : "s"}` : null,
    Object.keys(predicted.flags).length ? "note on the file" : null].filter(Boolean).join(", ");
  const button = h("button", { type: "button", class: "open", "aria-current": shown?.entry === entry ? "true" : null, onclick: () => open(entry, true) }, formula(predicted.formula));
  const interval = predicted.low === null || predicted.low === undefined ? "none" : `${number(predicted.low, 3)} – ${number(predicted.high, 3)}`;
  const moved = entry.edited ? h("span", { class: "moved" }, `${notes ? "; " : ""}edited: ${moveInWords(entry.edited.predicted.what_if.difference, live)}`) : null;
  row.replaceChildren(h("td", null, button, " ", h("span", { class: "id" }, entry.name)), h("td", null, spaceGroup(predicted.space_group)), h("td", { class: "n" }, number(predicted.value, 3)), h("td", { class: "n" }, interval), h("td", null, notes, moved), remove);
}

function removeEntry(entry) {
  entries.splice(entries.indexOf(entry), 1);
  entry.row.remove();
  if (shown?.entry === entry) {
    closeCard();
    const next = entries.find((one) => one.card);
    if (next) open(next, false);
  }
  document.body.classList.toggle("has-files", entries.length > 0);
  pump();
}

function tell(words) {
  const done = entries.filter((entry) => entry.card).length, failed = entries.filter((entry) => entry.state === "failed").length;
  const open_ = entries.length - done - failed;
  const parts = [`${done} predicted`, failed ? `${failed} could not be used` : null, open_ ? `${open_} to come` : null].filter(Boolean).join(", ");
  place("said").textContent = words ?? (entries.length ? [`${parts}.`, takeRefused].filter(Boolean).join(" ") : "");
  place("dropped").hidden = entries.length === 0;
  place("cautions").hidden = done > 0; // each card says them
  for (const id of ["download-csv", "download-json"]) place(id).disabled = open_ > 0 || done + failed === 0;
  place("download-page").disabled = open_ > 0 || done === 0;
}

// the card

function closeCard() {
  if (!shown) return;
  shown.view.stop();
  shown.editor?.stop();
  const { entry } = shown;
  shown = null;
  window.shownCard = null;
  place("card").replaceChildren();
  if (entries.includes(entry)) drawRow(entry);
}

function open(entry, byHand) {
  closeCard();
  const view = renderCard(entry.card, pageNow());
  shown = { entry, view, editor: null };
  if (!entry.explained) view.root.querySelector(".told .head")?.after(h("p", { class: "explaining", role: "status" }, "The explanation is being computed …"));
  if (entry.unexplained) view.root.querySelector(".told .head")?.after(h("p", { class: "call" }, `There is no explanation: ${entry.unexplained}`));
  place("card").replaceChildren(view.root);
  view.start();
  addEditor(entry, view.root);
  drawRow(entry);
  if (byHand) {
    view.root.querySelector("h2").focus({ preventScroll: true });
    view.root.scrollIntoView({ block: "start" });
  }
  window.shownCard = view; // for whoever looks at the page from outside, as at the page on disk
  pump();
}

/** The same card with what was learned since, seen from the same side. */
function redrawCard() {
  const { entry, view } = shown, at = view.crystal?.viewer?.getView(), top = window.scrollY;
  open(entry, false);
  if (at) shown.view.crystal.viewer?.setView(at);
  window.scrollTo({ top, behavior: "instant" });
}

function addEditor(entry, root) {
  const section = root.querySelector(".told"), page = { ...pageNow(), limits };
  if (!section) return;
  const head = section.querySelector(".head"), others = [...section.children].filter((child) => child !== head);
  const band = h("p", { class: "call edited-band", hidden: true });
  root.querySelector(".explanation").before(band);
  const show = () => {
    band.hidden = !entry.edited;
    if (!entry.edited) return;
    const { predicted } = entry.edited;
    band.replaceChildren(h("span", null, "With your edited description: ", h("b", null, valueOf(predicted, live)), ", ", h("b", { class: "difference" }, moveInWords(predicted.what_if.difference, live))),
      h("button", { type: "button", class: "quiet", onclick: () => { shown.edit(true); shown.editor.restore(); } }, "restore"));
  };
  const askEdit = async (rows, signal) => contentOf(await askAgain(entry, "/api/edit", () => ({ digest: entry.digest, rows }), signal));
  const onEdited = (rows, answer) => {
    entry.rows = rows;
    entry.edited = answer;
    show();
    if (entries.includes(entry)) drawRow(entry);
  };
  const edit = (yes) => {
    shown.editing = yes;
    if (!yes && shown.stale) { redrawCard(); return; }
    for (const child of others) child.hidden = yes;
    if (yes && !shown.editor) {
      shown.editor = renderEditor(entry.card, page, entry.rows ?? null, askEdit, onEdited);
      section.append(shown.editor.root);
      shown.editor.start();
    }
    if (shown.editor) shown.editor.root.hidden = !yes;
    head.querySelector(`input[value=${yes ? "edit" : "read"}]`).checked = true;
  };
  head.append(radioSwitch("reading", "Read or edit the description", [{ value: "read", text: "explain" }, { value: "edit", text: "edit" }], "read", (value) => edit(value === "edit")));
  shown.edit = edit;
  show();
}

// downloads

const wanted = () => entries.map((entry) => (entry.card ? { name: entry.name, digest: entry.digest, rows: entry.rows ?? null } : { name: entry.name, error: entry.problem }));

async function download(path, name, type) {
  for (const entry of entries.filter((one) => one.card)) {
    while (path === "/api/page.html" && entries.includes(entry) && !entry.explained) {
      tell(`For the page ${entries.filter((one) => one.card && one.explained).length} of ${entries.filter((one) => one.card).length} crystals are explained …`);
      await pause(200);
    }
  }
  try {
    let answer;
    try {
      answer = await ask(path, wanted());
    } catch (error) {
      if (error.status !== 404) throw error;
      for (const entry of entries.filter((one) => one.card)) await describeFile(entry); // the server was started anew
      answer = await ask(path, wanted());
    }
    const address = URL.createObjectURL(new Blob([await answer.blob()], { type }));
    const link = h("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    tell();
  } catch (error) {
    tell(`Not downloaded: ${error.message}`);
  }
}

place("download-csv").addEventListener("click", () => download("/api/table.csv", "predictions.csv", "text/csv"));
place("download-json").addEventListener("click", () => download("/api/table.json", "predictions.json", "application/json"));
place("download-page").addEventListener("click", () => download("/api/page.html", "predictions.html", "text/html"));
place("remove-all").addEventListener("click", () => { for (const entry of [...entries].reverse()) removeEntry(entry); place("files").focus(); });

// dropping: anywhere on the page, so that no file replaces it

place("value-head").textContent = live.unit ? `${live.target} / ${live.unit}` : live.target;
place("files").addEventListener("change", (event) => { take([...event.target.files]); event.target.value = ""; });
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); place("drop").classList.add("over-it"); });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => { if (kind === "drop" || !event.relatedTarget) place("drop").classList.remove("over-it"); });
}
document.addEventListener("drop", (event) => { event.preventDefault(); take([...event.dataTransfer.files]); });
