"use strict";
// Colours, histograms that say their numbers, lines of the graph, copying, and the map.

for (const input of document.querySelectorAll("input[name=theme]")) {
  input.addEventListener("change", () => {
    if (input.value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = input.value;
    document.dispatchEvent(new Event("themechange"));
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

for (const histogram of document.querySelectorAll(".hist")) {
  const bins = [...histogram.querySelectorAll("g")], said = histogram.nextElementSibling.querySelector("output");
  const usual = said.textContent;
  let pinned = -1;
  const show = (place) => {
    bins.forEach((bin, number) => bin.classList.toggle("now", number === place));
    said.textContent = place < 0 ? usual : bins[place].dataset.text;
  };
  bins.forEach((bin, place) => {
    bin.addEventListener("pointerenter", () => show(place));
    bin.addEventListener("click", () => { pinned = pinned === place ? -1 : place; show(pinned); });
  });
  histogram.addEventListener("pointerleave", () => show(pinned));
  histogram.addEventListener("blur", () => show(pinned));
  histogram.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -bins.length, End: bins.length };
    if (event.key === "Escape") { pinned = -1; show(pinned); }
    if (!(event.key in steps)) return;
    event.preventDefault();
    pinned = Math.max(0, Math.min(bins.length - 1, pinned + steps[event.key]));
    show(pinned);
  });
}

for (const node of document.querySelectorAll(".graph a")) {
  const near = (on) => {
    for (const path of document.querySelectorAll(".graph path")) {
      const { from, to } = path.dataset;
      if (from !== node.dataset.node && to !== node.dataset.node) continue;
      path.classList.toggle("near", on);
      for (const name of [from, to]) {
        document.querySelector(`.graph a[data-node="${CSS.escape(name)}"] rect`).classList.toggle("near", on);
      }
    }
  };
  for (const begin of ["pointerenter", "focus"]) node.addEventListener(begin, () => near(true));
  for (const end of ["pointerleave", "blur"]) node.addEventListener(end, () => near(false));
}

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const code = button.closest("figure").querySelector("code");
    let done = false;
    if (navigator.clipboard && window.isSecureContext) done = await navigator.clipboard.writeText(code.textContent).then(() => true, () => false);
    if (!done) { // pages from disk may have no clipboard of their own
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "copied" : "cannot copy here";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
}

const canvas = document.getElementById("map-canvas");
if (canvas) {
  const map = JSON.parse(document.getElementById("data").textContent);
  const chooser = document.getElementById("map-value"), find = document.getElementById("map-find"), said = document.getElementById("map-said");
  const stops = [[59, 47, 128], [53, 103, 155], [35, 144, 140], [92, 184, 95], [232, 211, 63]];
  const ranges = [map.x, map.y].map((all) => [Math.min(...sample(all, 0)), Math.max(...sample(all, 0))]);
  let places = [], chosen = -1, matches = new Set();
  for (const name of Object.keys(map.values)) chooser.add(new Option(map.units[name] ? `${name} (${map.units[name]})` : name, name));

  function sample(all) { // the whole range without the arguments of a function running out
    return [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
  }

  function scale(values) { // between the 2nd and 98th percentile: single ones would leave no colour to the others
    const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
    if (!sorted.length) return [0, 1, 0, 1];
    return [sorted[Math.floor(sorted.length * 0.02)], sorted[Math.ceil(sorted.length * 0.98) - 1], sorted[0], sorted[sorted.length - 1]];
  }

  function colour(share) {
    const at = Math.max(0, Math.min(1, share)) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
    const mixed = stops[low].map((part, place) => Math.round(part + (stops[low + 1][place] - part) * (at - low)));
    return `rgb(${mixed.join(" ")})`;
  }

  function words(value) {
    return value === null ? "not known" : String(value).replace("-", "−");
  }

  function draw() {
    const box = canvas.getBoundingClientRect(), density = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
    canvas.width = Math.round(box.width * density);
    canvas.height = Math.round(box.height * density);
    pen.setTransform(density, 0, 0, density, 0, 0);
    const values = map.values[chooser.value] ?? map.ids.map(() => null), [low, high, least, most] = scale(values);
    document.getElementById("map-low").textContent = words(low) + (least < low ? ` and less, down to ${words(least)}` : "");
    document.getElementById("map-high").textContent = words(high) + (most > high ? ` and more, up to ${words(most)}` : "");
    const size = map.ids.length > 5000 ? 1.6 : 2.8, edge = 14, style = getComputedStyle(document.documentElement);
    const unknown = style.getPropertyValue("color-scheme") === "dark" || matchMedia("(prefers-color-scheme: dark)").matches ? "#555b66" : "#c9c6bf";
    const place = (value, [from, to], length) => edge + (value - from) / ((to - from) || 1) * (length - 2 * edge);
    places = map.ids.map((_, number) => [place(map.x[number], ranges[0], box.width), box.height - place(map.y[number], ranges[1], box.height)]);
    for (const known of [false, true]) { // what is known lies above what is not
      places.forEach(([x, y], number) => {
        const value = values[number];
        if ((value !== null) !== known) return;
        pen.fillStyle = known ? colour((value - low) / ((high - low) || 1)) : unknown;
        pen.beginPath();
        pen.arc(x, y, size, 0, 7);
        pen.fill();
      });
    }
    pen.lineWidth = 2;
    pen.strokeStyle = getComputedStyle(document.body).color;
    for (const number of [...matches, ...(chosen < 0 ? [] : [chosen])]) {
      pen.beginPath();
      pen.arc(...places[number], number === chosen ? 7 : 5, 0, 7);
      pen.stroke();
    }
  }

  function choose(number) {
    chosen = number;
    if (number >= 0) {
      const value = map.values[chooser.value]?.[number] ?? null, unit = map.units[chooser.value];
      said.textContent = `${map.formulas[number] ?? ""} (${map.ids[number]}): ${chooser.value} ${words(value)}${value !== null && unit ? ` ${unit}` : ""}`;
    }
    draw();
  }

  function nearest(x, y, reach) {
    let best = -1, least = reach * reach;
    places.forEach(([atX, atY], number) => {
      const far = (atX - x) ** 2 + (atY - y) ** 2;
      if (far < least) { least = far; best = number; }
    });
    return best;
  }

  canvas.addEventListener("pointermove", (event) => {
    const number = nearest(event.offsetX, event.offsetY, 24);
    if (number >= 0 && number !== chosen) choose(number);
  });
  canvas.addEventListener("click", (event) => { const number = nearest(event.offsetX, event.offsetY, 60); if (number >= 0) choose(number); });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    if (chosen < 0) { choose(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, 1e9)); return; }
    const [x, y] = places[chosen];
    let best = -1, least = Infinity;
    places.forEach(([atX, atY], number) => {
      const along = (atX - x) * way[0] + (atY - y) * way[1], across = Math.abs((atX - x) * way[1]) + Math.abs((atY - y) * way[0]);
      if (along > 0.5 && along + 2 * across < least) { least = along + 2 * across; best = number; }
    });
    if (best >= 0) choose(best);
  });
  find.addEventListener("input", () => {
    const word = find.value.trim().toLowerCase();
    matches = new Set();
    if (word) {
      map.ids.forEach((id, number) => { if (id.toLowerCase() === word || (map.formulas[number] ?? "").toLowerCase() === word) matches.add(number); });
      said.textContent = matches.size ? `${matches.size} found` : "none is called that";
    }
    if (matches.size === 1) choose([...matches][0]);
    else draw();
  });
  chooser.addEventListener("change", () => choose(chosen));
  document.addEventListener("themechange", draw);
  new ResizeObserver(draw).observe(canvas);
}
