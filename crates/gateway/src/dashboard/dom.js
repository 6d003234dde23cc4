// Elements made once and then only told what changed. Values become text, never markup.

const SVG = 'http://www.w3.org/2000/svg';
const said = new WeakMap();

/** An element of HTML with attributes and children; strings become text. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...children);
  return node;
}

/** Sets an attribute if it is another; `null` and `false` take it away. */
export function set(node, name, value) {
  if (value == null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? '' : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** Sets the text of an element without children if it is another. */
export function say(node, text) {
  if (said.get(node) === text) return;
  said.set(node, text);
  if (node.firstChild) node.firstChild.data = text;
  else node.append(text);
}

/** Shows or hides an element. */
export const show = (node, shown) => set(node, 'hidden', !shown);

/** A sign of a state, which a word beside it must tell too. */
export function sign() {
  const use = svg('use');
  const node = svg('svg', { class: 'sign', 'aria-hidden': 'true' }, use);
  return { node, update: mark => set(use, 'href', `#mark-${mark}`) };
}

/**
 * Keeps `parent`'s children in step with entries of `[key, item]`: `make()` gives `{ node, update(item) }` for a new key.
 * A `steady` list is not sorted anew under a pointer or a focus that is in it.
 */
export function list(parent, make, { steady = false } = {}) {
  let rows = new Map();
  return entries => {
    const kept = new Map();
    for (const [name, item] of entries) {
      let key = name;
      for (let twin = 2; kept.has(key); twin++) key = `${name} ${twin}`;
      const row = rows.get(key) ?? make(item);
      row.update(item);
      kept.set(key, row);
    }
    for (const [key, row] of rows) if (!kept.has(key)) row.node.remove();
    rows = kept;
    arrange(parent, [...kept.values()].map(row => row.node), steady && parent.matches(':hover, :focus-within'));
    return rows;
  };
}

function arrange(parent, nodes, inUse) {
  let next = parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else if (node.parentNode !== parent) parent.insertBefore(node, inUse ? null : next);
    else if (!inUse) parent.insertBefore(node, next);
  }
}
