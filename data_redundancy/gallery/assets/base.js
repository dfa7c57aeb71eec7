// The content, helpers for elements, and number formats. Text from the content becomes text nodes and attributes only.

const content = JSON.parse(document.getElementById("content").textContent);
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Returns an HTML element; attributes that begin with "on" are event listeners. */
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const range = (n) => Array.from({ length: n }, (_, i) => i);

const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

const wholeNumber = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const count = (n) => wholeNumber.format(n);
const counted = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
/** Returns a share in percent, with at most two decimals. */
const shortPercent = (share) => `${+(100 * share).toFixed(2)}%`;
const signed = (share, digits = 2) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(digits)}`;

function distanceText(distance) {
  if (distance == null) return "–";
  if (distance !== 0 && Math.abs(distance) < 0.0005) return distance.toExponential(1).replace("-", "−");
  return distance.toFixed(4);
}

const className = (label) => content.dataset.class_names[label] ?? `class ${label}`;

const status = (text) => { byId("status").textContent = text; };

/** Calls `draw(width)` now and whenever the element's width changes. */
function onWidth(element, draw) {
  let drawn = 0;
  new ResizeObserver(() => {
    const width = Math.floor(element.clientWidth);
    if (width > 0 && width !== drawn) draw(drawn = width);
  }).observe(element);
}
