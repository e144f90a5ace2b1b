// --- merging what the server has changed into the page -----------------------------------------------------------

/** Applies to a part what the server has changed in it. What the reader did stays: selections, folds, focus, input. */
function replace(part, other) {
  const was = sent.get(part);
  sent.set(part, other);
  if (was) merge(part, was, other);
}

function imported(node) {
  return document.importNode(node, true);
}

/** Changes a live node where the new version from the server differs from the old one. */
function merge(live, was, fresh) {
  if (was.isEqualNode(fresh)) return;
  if (live.nodeName !== fresh.nodeName || was.nodeName !== fresh.nodeName || was.id !== fresh.id) {
    live.replaceWith(imported(fresh));
  } else if (live.nodeType !== Node.ELEMENT_NODE) {
    live.nodeValue = fresh.nodeValue;
  } else {
    mergeAttributes(live, was, fresh);
    mergeChildren(live, was, fresh);
  }
}

function mergeAttributes(live, was, fresh) {
  for (const name of new Set([...was.getAttributeNames(), ...fresh.getAttributeNames()])) {
    const value = fresh.getAttribute(name);
    if (was.getAttribute(name) === value) continue;
    if (value === null) live.removeAttribute(name);
    else live.setAttribute(name, value);
    if (name === 'value' && live.type === 'range') live.value = value;
    if (name === 'datetime') live.removeAttribute('title');
  }
}

function mergeChildren(live, was, fresh) {
  const [old, now, next] = [was, live, fresh].map((node) => [...node.childNodes]);
  // the script of the page changed this element, so its children cannot be paired
  if (old.length !== now.length) return live.replaceChildren(...next.map(imported));
  const rest = new Set(old.keys());
  // equal nodes first, in their order, so that a new node between them moves none of them
  const pairs = [];
  let from = 0;
  next.forEach((node, n) => {
    const pair = old.findIndex((each, i) => i >= from && each.isEqualNode(node));
    if (pair < 0) return;
    pairs[n] = pair;
    rest.delete(pair);
    from = pair + 1;
  });
  next.forEach((node, n) => {
    if (pairs[n] !== undefined) return;
    pairs[n] = [...rest].find((i) => (node.id ? old[i].id === node.id : !old[i].id && old[i].nodeName === node.nodeName));
    rest.delete(pairs[n]);
  });
  for (const i of rest) now[i].remove();
  let place = live.firstChild;
  next.forEach((node, n) => {
    const mine = pairs[n] === undefined ? imported(node) : now[pairs[n]];
    if (mine === place) place = place.nextSibling;
    else live.insertBefore(mine, place);
    if (pairs[n] !== undefined) merge(mine, old[pairs[n]], node);
  });
}
