// The live diagram: one painter (the SVG that Python sends), and what happens to it under a hand.
// Nothing is fetched. Folding is asked of Python, whose answer is a new SVG with the same ids.

const MOVING = 250; // milliseconds
const PATIENCE = 2500; // before it is said that the kernel does not answer
const SVG = "http://www.w3.org/2000/svg";
// Keys are ours while the focus is here. Shortcuts of the page stop at the attribute on their way up
// from the focus, and at the first match: those of Notebook 7 match the focus itself.
const KEYS = "data-lm-suppress-shortcuts";

export default {
  // The page shows the static picture; the live one takes its place there as long as there is a
  // kernel. So what is saved with the notebook is the picture and nothing else.
  initialize({ model }) {
    const mounted = new Map();
    const look = () => {
      for (const place of document.querySelectorAll(`[data-live="${model.get("place")}"]`)) {
        if (mounted.has(place)) continue;
        mounted.set(place, show(model, place));
        place.classList.add("ql-mounted");
      }
    };
    let waiting = 0;
    const observer = new MutationObserver(() => {
      waiting ||= requestAnimationFrame(() => ((waiting = 0), look()));
    });
    observer.observe(document.body, { childList: true, subtree: true });
    look();
    const leave = () => {
      observer.disconnect();
      for (const [place, close] of mounted) {
        close();
        place.classList.remove("ql-mounted");
      }
      mounted.clear();
    };
    model.on("destroy", leave);
    return leave;
  },

  // As a part of another widget.
  render({ model, el }) {
    return show(model, el);
  },
};

function show(model, el) {
  const view = new View(model, el);
  const redraw = () => view.draw();
  const badges = () => view.badges();
  const tools = () => view.tools();
  const answered = () => view.answered();
  model.on("msg:custom", answered);
  model.on("change:svg", redraw);
  model.on("change:values", badges);
  model.on("change:channel change:channels change:note", tools);
  return () => {
    model.off("msg:custom", answered);
    model.off("change:svg", redraw);
    model.off("change:values", badges);
    model.off("change:channel change:channels change:note", tools);
    view.leave();
  };
}

class View {
  constructor(model, el) {
    this.model = model;
    this.pinned = null;
    this.query = "";
    this.frame = 0;
    this.clicked = null;
    this.root = make("div", "quivers-live", el, {
      role: "group",
      "aria-label": "live diagram",
    });
    this.bar = make("div", "ql-bar", this.root);
    this.stage = make("div", "ql-stage", this.root);
    this.status = make("div", "ql-status", this.root, { role: "status" });
    this.toolbar();
    this.tools();
    this.draw();
    this.listen();
  }

  answered() {
    clearTimeout(this.waiting);
    if (/kernel does not answer/.test(this.status.textContent)) this.status.textContent = "";
  }

  leave() {
    clearTimeout(this.waiting);
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  ask(what, id) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.status.textContent = "the kernel does not answer: it is busy, or gone";
    }, PATIENCE);
    this.model.send(id === undefined ? { do: what } : { do: what, id }); // may fail without a kernel
  }

  // --- the bar -----------------------------------------------------------------------------------

  toolbar() {
    this.search = make("input", "ql-search", this.bar, {
      type: "search",
      placeholder: "find a name or a type  /",
      "aria-label": "find a name or a type",
    });
    const label = make("label", "", this.bar);
    label.append("badges ");
    this.select = make("select", "ql-channel", label, { "aria-label": "badges" });
    const buttons = [
      ["fold", "fold all", "show boxes only"],
      ["elide", "default", "fold repetition"],
      ["unfold", "open all", "show everything"],
      ["turn", "turn", "let the flow go down or to the right"],
    ];
    for (const [what, word, title] of buttons) {
      const button = make("button", `ql-${what}`, this.bar, { type: "button", title });
      button.textContent = word;
      button.addEventListener("click", () => this.ask(what));
    }
    this.legend = make("span", "ql-legend", this.bar);
    this.select.addEventListener("change", () => this.ask("channel", this.select.value));
    this.search.addEventListener("input", () => this.find(this.search.value));
  }

  tools() {
    const names = this.model.get("channels");
    if ([...this.select.options].map(o => o.value).join() !== names.join()) {
      this.select.replaceChildren(...names.map(name => new Option(name, name)));
    }
    this.select.value = this.model.get("channel");
    this.legend.textContent = this.model.get("note");
  }

  // --- the picture -------------------------------------------------------------------------------

  draw() {
    const before = this.snapshot();
    const focused = this.stage.contains(document.activeElement) && idOf(document.activeElement);
    cancelAnimationFrame(this.frame);
    this.stage.innerHTML = this.model.get("svg");
    this.svg = this.stage.firstElementChild;
    for (const node of this.stage.querySelectorAll("[tabindex]")) node.setAttribute(KEYS, "true");
    this.index();
    this.badges();
    this.stay(before);
    const kept = this.byId.get(focused) || this.byId.get(this.clicked && this.clicked.id);
    if (kept && (focused || this.clicked)) kept.focus({ preventScroll: true });
    if (this.clicked && kept) this.status.textContent = kept.getAttribute("aria-label") || "";
    this.clicked = null;
    if (this.pinned && !this.byId.has(this.pinned)) this.pinned = null;
    this.refresh();
    if (before.size) this.move(before);
  }

  // What is drawn, by id; wires as edges between the things that they join.
  index() {
    this.byId = new Map();
    this.wires = [];
    this.out = new Map();
    this.into = new Map();
    if (!this.svg) return;
    for (const node of this.svg.querySelectorAll("[data-id]")) this.byId.set(idOf(node), node);
    for (const path of this.svg.querySelectorAll("path.w")) {
      const next = path.nextElementSibling;
      const head = next && next.matches("polygon.arrow") ? next : null;
      const wire = { path, head, from: path.dataset.from, to: path.dataset.to };
      this.wires.push(wire);
      push(this.out, wire.from, wire);
      push(this.into, wire.to, wire);
      const hit = document.createElementNS(SVG, "path");
      hit.setAttribute("class", "ql-hit");
      hit.setAttribute("d", path.getAttribute("d"));
      hit.dataset.wire = idOf(path);
      path.after(hit);
    }
  }

  badges() {
    const values = this.model.get("values");
    for (const [id, [text, level]] of Object.entries(values)) {
      const node = this.byId.get(id);
      const badge = node && node.querySelector("text.badge");
      if (!badge) continue;
      if (badge.textContent !== text) {
        badge.removeAttribute("textLength");
        badge.removeAttribute("lengthAdjust");
        badge.textContent = text;
      }
      if (level === null) node.style.removeProperty("--ql-heat");
      else node.style.setProperty("--ql-heat", `${Math.round(100 * level)}%`);
      node.classList.toggle("ql-hot", level !== null);
    }
  }

  // --- moving ------------------------------------------------------------------------------------

  snapshot() {
    const places = new Map();
    if (!this.svg) return places;
    for (const [id, node] of this.byId) {
      places.set(id, node.matches("path") ? { d: node.getAttribute("d") } : place(node));
    }
    return places;
  }

  move(before) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const steps = [];
    for (const [id, node] of this.byId) {
      const old = before.get(id);
      const step = node.matches("path.w") ? bent(node, old) : shifted(node, old);
      if (step) steps.push(step);
    }
    for (const word of this.svg.querySelectorAll(":scope > text, polygon.arrow")) {
      steps.push(t => (word.style.opacity = t < 1 ? t : ""));
    }
    const start = performance.now();
    const tick = now => {
      const part = Math.min((now - start) / MOVING, 1);
      const t = 1 - (1 - part) ** 3;
      for (const step of steps) step(part < 1 ? Math.max(t, 0) : 1);
      this.moving = part < 1;
      if (part < 1) this.frame = requestAnimationFrame(tick);
    };
    this.moving = true;
    tick(start);
  }

  // The thing that was clicked stays under the pointer.
  stay(before) {
    if (!this.clicked || !before.size) return;
    const node = this.byId.get(this.clicked.id);
    if (!node) return;
    const off = handle(node).getBoundingClientRect().top - this.clicked.top;
    for (let at = this.root.parentElement; at; at = at.parentElement) {
      const scrolls = /(auto|scroll)/.test(getComputedStyle(at).overflowY);
      if (scrolls && at.scrollHeight > at.clientHeight) {
        at.scrollTop += off;
        return;
      }
    }
  }

  // --- light -------------------------------------------------------------------------------------

  // Everything up- and downstream of a wire or a thing.
  closure(id) {
    const lit = new Set([id]);
    const walk = (start, edges, end) => {
      const seen = new Set();
      const todo = [start];
      while (todo.length) {
        const name = todo.pop();
        if (seen.has(name)) continue;
        seen.add(name);
        lit.add(name);
        for (const wire of edges.get(name) || []) {
          lit.add(idOf(wire.path));
          todo.push(wire[end]);
        }
      }
    };
    const wire = this.wires.find(w => idOf(w.path) === id);
    walk(wire ? wire.to : id, this.out, "to");
    walk(wire ? wire.from : id, this.into, "from");
    return lit;
  }

  refresh(hovered = null) {
    if (!this.svg) return;
    const chosen = this.byId.get(this.pinned || hovered);
    const lights = chosen && !chosen.matches(".f"); // a frame is no place on a wire
    const lit = lights ? this.closure(idOf(chosen)) : this.query ? this.found() : null;
    this.svg.classList.toggle("ql-dim", lit !== null);
    for (const [id, node] of this.byId) {
      node.classList.toggle("ql-lit", lit !== null && lit.has(id));
      node.classList.toggle("ql-pin", id === this.pinned);
    }
    for (const { path, head } of this.wires) {
      if (head) head.classList.toggle("ql-lit", lit !== null && lit.has(idOf(path)));
    }
  }

  pin(id) {
    this.pinned = this.pinned === id ? null : id;
    this.refresh();
    const name = this.pinned && (this.byId.get(id).getAttribute("aria-label") || id);
    this.status.textContent = name ? `pinned: ${name}` : "";
  }

  found() {
    const query = this.query.toLowerCase();
    const hit = node => {
      const title = node.querySelector("title");
      const words = node.getAttribute("aria-label") || (title && title.textContent) || node.textContent;
      return words.toLowerCase().includes(query);
    };
    return new Set([...this.byId].filter(([, node]) => hit(node)).map(([id]) => id));
  }

  find(text) {
    this.query = text.trim();
    this.refresh();
    const count = this.query ? this.found().size : 0;
    this.status.textContent = this.query ? `${count} found` : "";
  }

  // --- hands -------------------------------------------------------------------------------------

  listen() {
    this.stage.addEventListener("pointerover", e => this.refresh(target(e)));
    this.stage.addEventListener("pointerleave", () => this.refresh());
    this.stage.addEventListener("focusin", e => this.refresh(target(e)));
    this.stage.addEventListener("focusout", () => this.refresh());
    this.stage.addEventListener("click", e => this.click(e));
    this.root.addEventListener("keydown", e => this.key(e));
  }

  click(event) {
    const id = target(event);
    const node = id && this.byId.get(id);
    if (!node) {
      this.pinned = null;
      this.refresh();
      return;
    }
    if (node.matches(".folded") || (node.matches(".f") && onHeader(node, event))) this.toggle(id);
    else if (!node.matches(".f")) this.pin(id);
  }

  toggle(id) {
    const node = this.byId.get(id);
    this.clicked = { id, top: handle(node).getBoundingClientRect().top };
    this.ask("toggle", id);
  }

  key(event) {
    if (event.key === "Escape") {
      this.pinned = null;
      this.search.value = "";
      this.find("");
      if (event.target === this.search) this.first();
    } else if (event.target === this.search) {
      if (event.key !== "Enter") return;
      this.next([...this.found()]);
    } else if (this.stage.contains(event.target)) {
      if (!this.keyOnThing(event)) return;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  keyOnThing(event) {
    const id = idOf(event.target);
    const down = this.model.get("orient") === "tb";
    const [on, back] = down ? ["ArrowDown", "ArrowUp"] : ["ArrowRight", "ArrowLeft"];
    const [after, prior] = down ? ["ArrowRight", "ArrowLeft"] : ["ArrowDown", "ArrowUp"];
    if (event.key === "/") this.search.focus();
    else if (!id) return false;
    else if (event.key === "Enter" || event.key === " ") {
      if (event.target.matches(".folded, .f")) this.toggle(id);
      else this.pin(id);
    } else if (event.key === on) this.follow(id, this.out, "to");
    else if (event.key === back) this.follow(id, this.into, "from");
    else if (event.key === after) this.step(event.target, 1);
    else if (event.key === prior) this.step(event.target, -1);
    else return false;
    return true;
  }

  // Along a wire to the next thing that can have the focus; signs are passed.
  follow(id, edges, end) {
    const seen = new Set([id]);
    const todo = (edges.get(id) || []).map(wire => wire[end]);
    while (todo.length) {
      const name = todo.shift();
      if (seen.has(name)) continue;
      seen.add(name);
      const node = this.byId.get(name);
      if (node && node.hasAttribute("tabindex")) {
        node.focus();
        return;
      }
      todo.push(...(edges.get(name) || []).map(wire => wire[end]));
    }
  }

  step(node, by) {
    const all = [...this.svg.querySelectorAll("[tabindex]")];
    const next = all[all.indexOf(node) + by];
    if (next) next.focus();
  }

  first() {
    const node = this.svg.querySelector("[tabindex]");
    if (node) node.focus();
  }

  next(ids) {
    const nodes = ids.map(id => this.byId.get(id)).filter(node => node.hasAttribute("tabindex"));
    if (nodes.length) nodes[0].focus();
  }
}

// --- small things ----------------------------------------------------------------------------------

function make(tag, name, parent, attributes = {}) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (["button", "select", "input"].includes(tag)) node.setAttribute(KEYS, "true");
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
}

function push(map, key, value) {
  if (!map.has(key)) map.set(key, []);
  map.get(key).push(value);
}

function idOf(node) {
  return node && node.dataset ? node.dataset.id : undefined;
}

function target(event) {
  const hit = event.target.closest("[data-wire]");
  if (hit) return hit.dataset.wire;
  const node = event.target.closest("[data-id]");
  return node ? idOf(node) : null;
}

function handle(node) {
  return node.matches(".f") ? node.querySelector("text") || node : node;
}

function onHeader(node, event) {
  if (event.target.matches("text")) return true;
  return event.clientY - node.querySelector("rect").getBoundingClientRect().top < 20;
}

function place(node) {
  const rect = node.matches(".f") ? node.querySelector("rect") : null;
  if (rect) return Object.fromEntries(["x", "y", "width", "height"].map(k => [k, +rect.getAttribute(k)]));
  return node.getBBox();
}

function bent(path, old) {
  const fade = t => (path.style.opacity = t < 1 ? t : "");
  if (!old || old.d === undefined) return fade;
  const now = path.getAttribute("d");
  const [a, b] = [old.d, now].map(d => d.match(/-?[\d.]+/g).map(Number));
  if (old.d === now) return null;
  if (a.length !== b.length) return fade;
  const shape = now.split(/-?[\d.]+/);
  return t => {
    const mixed = b.map((value, i) => (value * t + a[i] * (1 - t)).toFixed(2));
    path.setAttribute("d", t < 1 ? shape.map((s, i) => s + (mixed[i] ?? "")).join("") : now);
  };
}

function shifted(node, old) {
  if (!old) return t => (node.style.opacity = t < 1 ? t : "");
  const now = place(node);
  const [dx, dy] = [
    old.x + old.width / 2 - now.x - now.width / 2,
    old.y + old.height / 2 - now.y - now.height / 2,
  ];
  const rect = node.matches(".f") ? node.querySelector("rect") : null;
  if (rect) return framed(node, rect, old, now);
  if (Math.abs(dx) + Math.abs(dy) < 0.5) return null;
  return t => {
    if (t < 1) node.setAttribute("transform", `translate(${dx * (1 - t)} ${dy * (1 - t)})`);
    else node.removeAttribute("transform");
  };
}

function framed(node, rect, old, now) {
  const text = node.querySelector("text");
  return t => {
    for (const key of ["x", "y", "width", "height"]) {
      rect.setAttribute(key, t < 1 ? now[key] * t + old[key] * (1 - t) : now[key]);
    }
    if (!text) return;
    const off = `translate(${(old.x - now.x) * (1 - t)} ${(old.y - now.y) * (1 - t)})`;
    if (t < 1) text.setAttribute("transform", off);
    else text.removeAttribute("transform");
  };
}
