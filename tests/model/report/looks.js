// What a reader sees of a page: what is hidden or outside the window, and texts that are hard to read.
const channels = (text) => {
  const numbers = (text.match(/-?[\d.]+(?:e-?\d+)?/g) ?? []).map(Number);
  if (text.startsWith("color(srgb")) return [numbers[0] * 255, numbers[1] * 255, numbers[2] * 255, numbers[3] ?? 1];
  if (!/^rgba?\(/.test(text)) throw new Error(`a colour in another form: ${text}`);
  return [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
};
const over = (top, below) => [0, 1, 2].map((k) => top[k] * top[3] + below[k] * (1 - top[3]));
const ground = (element) => {
  const layers = [];
  for (let one = element; one; one = one.parentElement) layers.push(channels(getComputedStyle(one).backgroundColor));
  const page = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  return layers.reverse().reduce((below, layer) => over(layer, below), page);
};
const luminance = (colour) => colour.map((x) => x / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
  .reduce((sum, x, k) => sum + x * [0.2126, 0.7152, 0.0722][k], 0);
const contrast = (a, b) => { const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y); return (high + 0.05) / (low + 0.05); };
const selectors = arguments[0], problems = [];
for (const selector of selectors) {
  const found = [...document.querySelectorAll(selector)];
  if (!found.length) problems.push(`${selector} is not there`);
  for (const element of found) {
    const box = element.getBoundingClientRect();
    const inside = element.closest(".wide") ?? element; // what scrolls in a box of its own may be wider than the window
    const frame = inside.getBoundingClientRect();
    if (!element.checkVisibility({ visibilityProperty: true }) || box.width < 1 || box.height < 1) problems.push(`${selector} is hidden`);
    if (frame.left < -1 || frame.right > innerWidth + 1) problems.push(`${selector} reaches from ${frame.left} to ${frame.right} of ${innerWidth}`);
  }
}
if (document.documentElement.scrollWidth > innerWidth) problems.push(`the page is ${document.documentElement.scrollWidth} wide`);
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let read = 0;
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || element.closest(".unseen, script, style, noscript") || !element.checkVisibility()) continue;
  const isPlot = element.closest("svg") !== null;
  const style = getComputedStyle(element);
  const ink = channels(isPlot ? style.fill : style.color);
  const below = ground(element);
  const ratio = contrast(over(ink, below), below);
  read += 1;
  if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)} of "${walker.currentNode.textContent.trim().slice(0, 40)}" (${element.tagName}.${element.className})`);
}
return { problems: [...new Set(problems)], read };
