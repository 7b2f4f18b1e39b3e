"use strict";
// A crystal in 3D: the cell with all images of atoms on its boundary, bonds, and coordination polyhedra.

const ON_BOUNDARY = 1e-3; // of a lattice vector
const CLOSER = 1.7; // than what surely holds the whole crystal
const SMALL = 8; // neighbours
const MOST_ATOMS = 700; // drawn; beyond that, polyhedra on the boundary stay incomplete

function cartesian(lattice, fractions) {
  return [0, 1, 2].map((k) => fractions[0] * lattice[0][k] + fractions[1] * lattice[1][k] + fractions[2] * lattice[2][k]);
}

/** Atoms, bonds and polyhedra to draw, of a Shape. */
function unfold(shape) {
  const atoms = [], place = new Map();
  const key = (atom, cell) => `${atom}:${cell.join(",")}`;
  const add = (atom, cell, inside) => {
    const name = key(atom, cell);
    if (!place.has(name)) {
      place.set(name, atoms.length);
      const at = cartesian(shape.lattice, shape.frac_coords[atom].map((f, k) => f + cell[k]));
      atoms.push({ atom, cell, at, inside, element: shape.elements[atom], bonded: [] });
    }
    return place.get(name);
  };
  shape.frac_coords.forEach((fractions, atom) => {
    const choices = fractions.map((f) => {
      const shift = -Math.floor(f + ON_BOUNDARY);
      return f + shift < ON_BOUNDARY ? [shift, shift + 1] : [shift];
    });
    for (const a of choices[0]) for (const b of choices[1]) for (const c of choices[2]) {
      add(atom, [a, b, c], a === choices[0][0] && b === choices[1][0] && c === choices[2][0]);
    }
  });
  const boundary = atoms.length;
  const around = shape.elements.map(() => []);
  for (const [atom, other, a, b, c] of shape.bonds) around[atom].push([other, [a, b, c]]);
  // of polyhedra that would fill each other, as SrO12 and TiO6 of a perovskite, the smaller ones are always drawn
  const small = shape.polyhedra.filter((atom) => around[atom].length <= SMALL);
  const centres = new Set(small.length ? small : shape.polyhedra);
  for (let index = 0; index < boundary; index += 1) { // the corners of polyhedra lie outside the cell, too
    const { atom, cell } = atoms[index];
    if (!centres.has(atom) || (atoms.length > MOST_ATOMS && !atoms[index].inside)) continue;
    for (const [other, step] of around[atom]) add(other, step.map((s, k) => s + cell[k]), false);
  }
  atoms.forEach((one, index) => {
    for (const [other, step] of around[one.atom]) {
      const there = place.get(key(other, step.map((s, k) => s + one.cell[k])));
      if (there === undefined) continue;
      if (!one.bonded.includes(there)) one.bonded.push(there);
      if (!atoms[there].bonded.includes(index)) atoms[there].bonded.push(index);
    }
  });
  const cornersOf = (one) => around[one.atom].map(([other, step]) =>
    cartesian(shape.lattice, shape.frac_coords[other].map((f, k) => f + step[k] + one.cell[k])));
  const named = new Set(shape.polyhedra);
  const polyhedra = atoms.slice(0, boundary).filter((one) => named.has(one.atom) && around[one.atom].length >= 4 && (one.inside || (atoms.length <= MOST_ATOMS && centres.has(one.atom))))
    .map((one) => ({ atom: one.atom, element: one.element, always: centres.has(one.atom), corners: cornersOf(one) }));
  return { atoms, polyhedra, boundary, around, cornersOf };
}

const minus = (a, b) => a.map((x, k) => x - b[k]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => { const length = Math.hypot(...a); return a.map((x) => x / length); };

/** Triangles of the convex hull of points, each with the outward normal; none of points in a plane. */
function hull(points) {
  const middle = [0, 1, 2].map((k) => points.reduce((sum, p) => sum + p[k], 0) / points.length);
  const seen = new Set(), triangles = [];
  for (let i = 0; i < points.length; i += 1) for (let j = i + 1; j < points.length; j += 1) for (let k = j + 1; k < points.length; k += 1) {
    let normal = cross(minus(points[j], points[i]), minus(points[k], points[i]));
    if (Math.hypot(...normal) < 1e-3) continue;
    normal = unit(normal);
    if (dot(normal, minus(points[i], middle)) < 0) normal = normal.map((x) => -x);
    const heights = points.map((p) => dot(normal, minus(p, points[i])));
    if (Math.max(...heights) > 0.02) continue;
    const face = points.map((_, place) => place).filter((place) => heights[place] > -0.02);
    if (face.length === points.length || seen.has(face.join())) continue;
    seen.add(face.join());
    const centre = [0, 1, 2].map((m) => face.reduce((sum, place) => sum + points[place][m], 0) / face.length);
    const x = unit(minus(points[face[0]], centre)), y = cross(normal, x);
    const angle = (place) => Math.atan2(dot(minus(points[place], centre), y), dot(minus(points[place], centre), x));
    const ring = face.sort((a, b) => angle(a) - angle(b));
    for (let place = 1; place + 1 < ring.length; place += 1) triangles.push({ corners: [ring[0], ring[place], ring[place + 1]], normal });
    for (let place = 0; place < ring.length; place += 1) triangles.edges = [...(triangles.edges ?? []), [ring[place], ring[(place + 1) % ring.length]]];
  }
  return triangles;
}

function hasWebGL() {
  const canvas = document.createElement("canvas");
  return Boolean(window.WebGL2RenderingContext && canvas.getContext("webgl2"));
}

const colourOf = (element) => mix(window.$3Dmol?.elementColors?.Jmol?.[element] ?? 0x909090, 0x8a8a8a, 0.22);
const asCss = (colour) => `#${colour.toString(16).padStart(6, "0")}`;

function cssColour(name) { // as the theme of now gives it, as one number
  const probe = h("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  return (Math.round(parts[0]) << 16) | (Math.round(parts[1]) << 8) | Math.round(parts[2]);
}

function mix(colour, other, share) {
  let result = 0;
  for (const shift of [16, 8, 0]) result |= Math.round(((colour >> shift) & 255) * (1 - share) + ((other >> shift) & 255) * share) << shift;
  return result;
}

/**
 * The panel of a crystal. `onPoint(atom or null)` is called when an atom is pointed at, `onPick(atom)` when one is
 * chosen. The result's `light(atoms)` marks atoms of the cell and the polyhedra around them, `colour(effects)` colours
 * atoms by their effect (null: by element).
 */
function crystalPanel(shape, label, page, onPoint, onPick) {
  const stage = h("div", { class: "stage", tabindex: "0", role: "application", "aria-label": `Structure of ${label}: arrow keys turn it, plus and minus zoom` });
  const panel = h("div", { class: "crystal" }, stage);
  const legend = elementChips(shape, onPoint, onPick);
  const self = { panel, legend, shown: false, light: () => {}, colour: () => {}, start: () => {}, stop: () => {} };
  const mark = (atoms, polyhedra) => {
    stage.dataset.litAtoms = [...atoms].sort((a, b) => a - b).join(" ");
    stage.dataset.litPolyhedra = [...polyhedra].sort((a, b) => a - b).join(" ");
    for (const chip of legend.querySelectorAll("button")) {
      chip.classList.toggle("lit", chip.dataset.atoms.split(" ").some((atom) => atoms.has(Number(atom))));
    }
  };
  const whole = unfold(shape);
  const polyhedraOf = (atoms) => [...new Set(whole.polyhedra.filter((one) => atoms.has(one.atom)).map((one) => one.atom))];
  self.light = (atoms) => mark(new Set(atoms), polyhedraOf(new Set(atoms)));
  if (!hasWebGL()) {
    stage.removeAttribute("role");
    stage.removeAttribute("tabindex");
    stage.removeAttribute("aria-label");
    stage.classList.add("no-3d");
    stage.append(h("p", null, "No picture of the structure: this browser has no WebGL. Elements and facts below still light each other."));
    panel.append(legend);
    return self;
  }
  self.start = () => drawCrystal(self, stage, shape, whole, page, mark, onPoint, onPick);
  const turn = (axis) => () => self.look(axis);
  panel.append(h("div", { class: "stage-tools" },
    ["a", "b", "c"].map((axis, place) => h("button", { type: "button", class: "quiet", "aria-label": `look along ${axis}`, onclick: turn(place) }, axis)),
    h("button", { type: "button", class: "quiet", onclick: () => self.reset() }, "reset"),
    whole.polyhedra.length ? h("label", { class: "check" }, h("input", { type: "checkbox", checked: true, onchange: (event) => self.solid(event.target.checked) }), "polyhedra") : null), legend);
  return self;
}

/** Elements of the crystal by orbit; each points at its atoms, for those who cannot point into the picture. */
function elementChips(shape, onPoint, onPick) {
  const orbits = new Map();
  shape.orbit.forEach((orbit, atom) => orbits.set(orbit, [...(orbits.get(orbit) ?? []), atom]));
  const named = [...orbits.values()], numbers = new Map();
  const total = (element) => named.filter((atoms) => shape.elements[atoms[0]] === element).length;
  return h("div", { class: "chips", role: "group", "aria-label": "Atoms that symmetry makes alike" }, named.map((atoms) => {
    const element = shape.elements[atoms[0]];
    numbers.set(element, (numbers.get(element) ?? 0) + 1);
    const dotMark = h("i", { class: "dot" });
    dotMark.style.background = asCss(colourOf(element));
    return h("button", { type: "button", class: "chip", "data-atoms": atoms.join(" "), "aria-pressed": "false", title: `${atoms.length} atom${atoms.length === 1 ? "" : "s"} of ${element} alike by symmetry`,
      onpointerenter: (event) => { if (event.pointerType !== "touch") onPoint(atoms); },
      onpointerleave: (event) => { if (event.pointerType !== "touch") onPoint(null); },
      onfocus: () => onPoint(atoms), onblur: () => onPoint(null), onclick: () => onPick(atoms) },
      dotMark, element, total(element) > 1 ? h("sub", null, String(numbers.get(element))) : null, h("small", null, ` ×${atoms.length}`));
  }));
}

function drawCrystal(self, stage, shape, whole, page, mark, onPoint, onPick) {
  const viewer = $3Dmol.createViewer(stage, { antialias: true, hoverDuration: 40, disableFog: true, orthographic: true });
  const model = viewer.addModel();
  let lit = new Set(), effects = null, solid = true, drawn = [], painted = null;
  model.addAtoms(whole.atoms.map((one, index) => ({ elem: one.element, x: one.at[0], y: one.at[1], z: one.at[2], serial: index, bonds: one.bonded, bondOrder: one.bonded.map(() => 1) })));

  const edges = [];
  for (const [i, j, k] of [[0, 1, 2], [1, 0, 2], [2, 0, 1]]) {
    for (const a of [0, 1]) for (const b of [0, 1]) {
      const from = [0, 0, 0], to = [0, 0, 0];
      from[j] = to[j] = a; from[k] = to[k] = b; to[i] = 1;
      edges.push([cartesian(shape.lattice, from), cartesian(shape.lattice, to)]);
    }
  }
  const xyz = (p) => ({ x: p[0], y: p[1], z: p[2] });
  const solidBody = (corners, colour, opacity) => {
    const triangles = hull(corners);
    if (!triangles.length) return;
    const vertexArr = [], normalArr = [], faceArr = [];
    for (const { corners: places, normal } of triangles) {
      const points = places.map((place) => corners[place]);
      if (dot(cross(minus(points[1], points[0]), minus(points[2], points[0])), normal) < 0) points.reverse();
      for (const point of points) { faceArr.push(vertexArr.length); vertexArr.push(xyz(point)); normalArr.push(xyz(normal)); }
    }
    drawn.push(viewer.addCustom({ vertexArr, normalArr, faceArr, color: colour, opacity }));
    for (const [a, b] of triangles.edges) drawn.push(viewer.addLine({ start: xyz(corners[a]), end: xyz(corners[b]), color: colour }));
  };
  const effectColour = (atom, ground) => {
    const effect = effects.get(atom);
    if (effect === undefined) return mix(ground, cssColour("--soft"), 0.3);
    return mix(mix(ground, cssColour("--soft"), 0.22), cssColour(effect < 0 ? "--down" : "--up"), Math.min(1, Math.abs(effect) / page.scale));
  };
  const draw = () => {
    const ground = cssColour("--panel"), highlight = cssColour("--mark"), ink = cssColour("--soft");
    if (ground !== painted) viewer.setBackgroundColor(painted = ground, 1); // seen through, nothing transparent is drawn
    for (const shapeDrawn of drawn) viewer.removeShape(shapeDrawn);
    drawn = edges.map(([from, to]) => viewer.addCylinder({ start: xyz(from), end: xyz(to), radius: 0.03, color: ink, fromCap: 1, toCap: 1 }));
    const groups = new Map();
    whole.atoms.forEach((one, index) => {
      let color = effects ? effectColour(one.atom, ground) : colourOf(one.element);
      if (lit.size && !lit.has(one.atom)) color = mix(color, ground, 0.76);
      const radius = lit.has(one.atom) ? 0.56 : 0.42, name = `${color} ${radius}`;
      if (!groups.has(name)) groups.set(name, { color, radius, indices: [] });
      groups.get(name).indices.push(index);
    });
    for (const { color, radius, indices } of groups.values()) {
      viewer.setStyle({ index: indices }, { sphere: { radius, color }, stick: { radius: 0.085, color } });
    }
    if (solid) {
      for (const one of whole.polyhedra) {
        const now = lit.has(one.atom);
        if (!now && (lit.size || !one.always)) continue;
        solidBody(one.corners, now ? highlight : colourOf(one.element), now ? 0.5 : 0.32);
      }
    }
    if (lit.size && !whole.polyhedra.length && new Set([...lit].map((atom) => shape.elements[atom])).size === 1) {
      for (const one of whole.atoms.filter((a) => a.inside && lit.has(a.atom)).slice(0, 8)) {
        if (whole.around[one.atom].length >= 4) solidBody(whole.cornersOf(one), highlight, 0.3);
      }
    }
    viewer.render();
  };
  viewer.setHoverable({}, true, (atom) => onPoint([whole.atoms[atom.index].atom]), () => onPoint(null));
  viewer.setClickable({}, true, (atom) => onPick([whole.atoms[atom.index].atom]));

  // orientation: a little from above, c up, and later as the reader turned it
  const aligned = (axis) => {
    const [a, b, c] = shape.lattice;
    const up = axis === 2 ? b : c;
    const z = unit([a, b, c][axis]);
    const y = unit(minus(up, z.map((x) => x * dot(up, z))));
    const x = cross(y, z);
    return quaternion(x, y, z);
  };
  const turnTo = (q) => {
    const view = viewer.getView();
    viewer.setView([...view.slice(0, 4), ...q]);
  };
  const quietly = (...changes) => { // one picture for several changes of the view
    viewer.show = () => viewer;
    viewer.setBackgroundColor(painted = cssColour("--panel"), 1);
    changes.forEach((change) => change());
    delete viewer.show;
    draw();
  };
  const fill = () => { viewer.zoomTo(); viewer.zoom(CLOSER); };
  self.look = (axis) => quietly(() => turnTo(aligned(axis)), fill);
  self.reset = () => quietly(() => turnTo(aligned(0)), () => { viewer.rotate(-24, "y"); viewer.rotate(14, "x"); }, fill);
  self.solid = (yes) => { solid = yes; draw(); };
  self.light = (atoms) => {
    const next = new Set(atoms);
    if (next.size === lit.size && [...next].every((atom) => lit.has(atom))) return;
    lit = next;
    mark(lit, [...new Set(whole.polyhedra.filter((one) => lit.has(one.atom)).map((one) => one.atom))]);
    draw();
  };
  self.colour = (byAtom) => { effects = byAtom; draw(); };
  const redraw = () => draw();
  document.addEventListener("themechange", redraw);
  stage.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"], ArrowUp: [-10, "x"], ArrowDown: [10, "x"] };
    if (turns[event.key]) viewer.rotate(...turns[event.key]);
    else if (event.key === "+" || event.key === "=") viewer.zoom(1.15);
    else if (event.key === "-") viewer.zoom(1 / 1.15);
    else return;
    event.preventDefault();
    viewer.render();
  });
  stage.addEventListener("wheel", (event) => { // the wheel scrolls the page, until the picture has been chosen
    if (!stage.contains(document.activeElement) && !event.ctrlKey) event.stopPropagation();
  }, { capture: true });
  stage.addEventListener("pointerleave", (event) => { // 3Dmol tells of leaving an atom, not of leaving the picture
    viewer.current_hover = null;
    if (event.pointerType !== "touch") onPoint(null);
  });
  stage.addEventListener("pointerdown", () => stage.focus({ preventScroll: true }));
  self.stop = () => {
    document.removeEventListener("themechange", redraw);
    viewer.show = viewer.render = () => viewer; // 3Dmol goes on listening to the size of the window
  };
  self.viewer = viewer;
  self.shown = true;
  self.reset();
}

/** Of the rotation that turns these axes of the crystal to right, up and towards the reader. */
function quaternion(x, y, z) {
  const m = [x, y, z], trace = x[0] + y[1] + z[2];
  let q;
  if (trace > 0) {
    const s = 2 * Math.sqrt(trace + 1);
    q = [(m[2][1] - m[1][2]) / s, (m[0][2] - m[2][0]) / s, (m[1][0] - m[0][1]) / s, s / 4];
  } else {
    const i = [0, 1, 2].reduce((best, k) => (m[k][k] > m[best][best] ? k : best), 0), j = (i + 1) % 3, k = (i + 2) % 3;
    const s = 2 * Math.sqrt(1 + m[i][i] - m[j][j] - m[k][k]);
    q = [0, 0, 0, (m[k][j] - m[j][k]) / s];
    q[i] = s / 4;
    q[j] = (m[j][i] + m[i][j]) / s;
    q[k] = (m[k][i] + m[i][k]) / s;
  }
  return q;
}
