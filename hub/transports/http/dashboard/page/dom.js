// Creates and changes elements. Text is always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `properties`: `class`, `text`, `on` (listeners by event), `data`
 * (dataset), DOM properties by name, and attributes if the name contains a dash.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "role" || name === "for" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The element with that id; throws an Error if the page has none. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** Sets the text if it differs: every write causes a layout. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute if it differs; null removes it. */
export function setAttribute(element, name, value) {
  if (value === null) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Shows or hides an element. */
export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/**
 * Makes `parent` show one element for each item, in this order. An item's element is made once
 * and drawn again only if its `sign(item)` differs, so a focus or a selection inside survives.
 */
export function keyed(parent, items, { key, sign, make, draw }) {
  const kept = (parent.keyedElements ??= new Map());
  const wanted = new Map(items.map((item) => [key(item), item]));
  for (const [name, entry] of kept) {
    if (!wanted.has(name)) {
      entry.element.remove();
      kept.delete(name);
    }
  }
  let next = parent.firstElementChild;
  for (const [name, item] of wanted) {
    let entry = kept.get(name);
    if (!entry) kept.set(name, (entry = { element: make(item), sign: null }));
    const now = sign(item);
    if (entry.sign !== now) {
      entry.sign = now;
      draw(entry.element, item);
    }
    if (entry.element === next) next = next.nextElementSibling;
    else parent.insertBefore(entry.element, next);
  }
}
