// Live curves and the buttons of a run. Everything is drawn here from the numbers that the kernel
// sends; nothing is ever asked of the network.
//
//   kernel -> view   {kind: "curves", sequence, state, ..., columns: {name: [first, n]}} and float32s
//                    {kind: "look", tab, rows, names, ...} and float32s
//                    {kind: "kept", data}: what the notebook should keep of a run that is over
//   view -> kernel   {need: true}, {seen: n}, {verb: "pause"}, {look: true}

// Okabe and Ito (2008), and lighter ones of the same hues on dark ground.
const ON_LIGHT = ["#0072b2", "#d55e00", "#009e73", "#b85d92", "#b57b00", "#2f8fc4"];
const ON_DARK = ["#56b4e9", "#f28e4b", "#2fc79a", "#e08fbf", "#f0c242", "#9cc7f0"];
let CHAINS = ON_LIGHT;
const DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [1, 3]];
const TABS = [
  ["curves", "Curves"], ["trace", "Trace"], ["rank", "Ranks"], ["density", "Densities"],
  ["predictive", "Predictive check"],
];
const VERBS = [
  ["start", "Start", "begin with the settings above"],
  ["pause", "Pause", "wait after the iteration under way"],
  ["resume", "Resume", "go on after a pause"],
  ["stop", "Stop", "end after this iteration and keep what there is"],
  ["abort", "Abort", "end at once, without a result"],
  ["nuts", "Go on with NUTS", "draw from the posterior, starting at the fitted guide"],
];
const LIVE = ["warming", "running", "paused", "stopping"];
const GONE = "The kernel of this panel has ended. What is shown is what it said last. " +
  "Run the cell of the panel again for a new one; a fit that was written with checkpoint=\"FILE\" goes on " +
  "from its file when its line is run again.";
const GREATEST = 8000; // points of a curve; beyond it, each pair of neighbours keeps its extremes

// Shortcuts of the page look for the attribute on their way up from the focus, and stop at the first
// match: those of Notebook 7 match the focus itself, so that our keys are ours only if it is there.
const KEYS = "data-lm-suppress-shortcuts";

const make = (tag, options = {}, ...children) => {
  const node = document.createElement(tag);
  if (["button", "select", "input"].includes(tag) || "tabindex" in options) node.setAttribute(KEYS, "true");
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
};

const short = number => {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
  const size = Math.abs(number);
  const text = size !== 0 && (size >= 1e5 || size < 1e-3)
    ? number.toExponential(2) : Number(number.toPrecision(4)).toString();
  return text.replace("-", "−");
};
// About `count` round numbers between two: multiples of 1, 2 or 5 times a power of ten.
const round = (low, high, count) => {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= 0.999 * rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
  return found;
};
// On a logarithmic axis (low and high are exponents), powers of ten if there are two of them.
const powers = (low, high) => (Math.floor(high) > Math.ceil(low)
  ? Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, k) => Math.ceil(low) + k)
  : round(10 ** low, 10 ** high, 4).map(Math.log10));
const time = seconds => {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
};

// --- curves: points that only grow --------------------------------------------------------------

class Curve {
  constructor() { this.clear(); }
  clear() { this.x = new Float64Array(1024); this.y = new Float64Array(1024); this.n = 0; }
  add(x, y) {
    if (this.n === GREATEST) this.thin();
    if (this.n === this.x.length) {
      for (const key of ["x", "y"]) {
        const wider = new Float64Array(2 * this[key].length);
        wider.set(this[key]);
        this[key] = wider;
      }
    }
    this.x[this.n] = x;
    this.y[this.n] = y;
    this.n += 1;
  }
  thin() {
    let kept = 0;
    for (let i = 0; i + 3 < this.n; i += 4) {
      let low = i, high = i;
      for (let j = i; j < i + 4; j++) {
        if (this.y[j] < this.y[low]) low = j;
        if (this.y[j] > this.y[high]) high = j;
      }
      for (const j of low < high ? [low, high] : [high, low]) {
        this.x[kept] = this.x[j];
        this.y[kept] = this.y[j];
        kept += 1;
      }
    }
    this.n = kept;
  }
  points() { return [this.x.subarray(0, this.n), this.y.subarray(0, this.n)]; }
}

const smoothed = (y, amount) => {
  if (!(amount > 0)) return y;
  const out = new Float64Array(y.length);
  let mean = NaN;
  for (let i = 0; i < y.length; i++) {
    if (Number.isFinite(y[i])) mean = Number.isNaN(mean) ? y[i] : amount * mean + (1 - amount) * y[i];
    out[i] = mean;
  }
  return out;
};

// --- drawing ------------------------------------------------------------------------------------

class Plot {
  constructor(canvas) { this.canvas = canvas; }

  // lines: {x, y, color, dash, width, alpha, name}; bars: {low, high, values, ...}
  draw({ lines = [], bars = [], shade = null, ticks = [], log = false, xTitle = "", yTitle = "",
         zero = false, level = null, tail = 0 }) {
    const canvas = this.canvas, ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth || 640, height = canvas.clientHeight || 240;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const ink = style.color, faint = style.getPropertyValue("--qvr-faint").trim() || "#888";
    const box = { left: 62, top: 20, width: width - 76, height: height - 58 };
    const f = log ? y => (y > 0 ? Math.log10(y) : NaN) : y => y;
    const range = this.range(lines, bars, f, zero, tail);
    this.frame = { box, range, f, lines, bars };
    pen.font = `11px ${style.fontFamily}`;
    if (range === null) {
      pen.fillStyle = ink;
      pen.fillText("no numbers yet", box.left + 8, box.top + 20);
      return;
    }
    const [x0, x1, y0, y1] = range;
    const px = x => box.left + (x - x0) / (x1 - x0) * box.width;
    const py = y => box.top + (1 - (f(y) - y0) / (y1 - y0)) * box.height;
    if (shade !== null && shade > x0) {
      pen.fillStyle = faint;
      pen.globalAlpha = 0.18;
      pen.fillRect(px(x0), box.top, Math.min(px(shade), box.left + box.width) - px(x0), box.height);
      pen.globalAlpha = 1;
      pen.fillStyle = ink;
      pen.textAlign = "center";
      pen.fillText("warm-up", (px(x0) + Math.min(px(shade), box.left + box.width)) / 2, box.top - 6);
    }
    this.axes(pen, box, range, log, ink, faint, xTitle, yTitle);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.width, box.height);
    pen.clip();
    if (level !== null) this.path(pen, [x0, x1], [level, level], px, py, ink, [2, 3], 1, 0.8);
    for (const bar of bars) this.bar(pen, bar, px, py, faint);
    for (const line of lines) {
      this.path(pen, line.x, line.y, px, py, line.color, line.dash || [], line.width || 1.4,
        line.alpha || 1);
    }
    pen.strokeStyle = "#d33f3f";
    for (const x of ticks) {
      pen.beginPath();
      pen.moveTo(px(x), box.top + box.height);
      pen.lineTo(px(x), box.top + box.height - 9);
      pen.stroke();
    }
    pen.restore();
  }

  range(lines, bars, f, zero, tail) {
    let x0 = Infinity, x1 = -Infinity;
    const all = [];
    for (const { x, y } of lines) {
      for (let i = 0; i < x.length; i++) {
        const value = f(y[i]);
        if (!Number.isFinite(value)) continue;
        if (x[i] < x0) x0 = x[i];
        if (x[i] > x1) x1 = x[i];
        all.push(value);
      }
    }
    for (const bar of bars) {
      x0 = Math.min(x0, bar.low);
      x1 = Math.max(x1, bar.high);
      all.push(...bar.values);
    }
    if (all.length === 0) return null;
    all.sort((a, b) => a - b);
    let y0 = zero ? 0 : all[Math.floor(tail * (all.length - 1))];
    let y1 = all[Math.ceil((1 - tail) * (all.length - 1))];
    const room = 0.06 * (y1 - y0) || Math.abs(y1) * 0.06 || 1;
    if (!zero) y0 -= room;
    return [x0, x1 > x0 ? x1 : x0 + 1, y0, y1 + room];
  }

  axes(pen, box, [x0, x1, y0, y1], log, ink, faint, xTitle, yTitle) {
    pen.strokeStyle = faint;
    pen.fillStyle = ink;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(box.left, box.top);
    pen.lineTo(box.left, box.top + box.height);
    pen.lineTo(box.left + box.width, box.top + box.height);
    pen.stroke();
    pen.textAlign = "center";
    const bottom = box.top + box.height;
    for (const x of round(x0, x1, Math.max(2, Math.floor(box.width / 90)))) {
      const at = box.left + (x - x0) / (x1 - x0) * box.width;
      pen.fillText(short(x), at, bottom + 16);
      this.mark(pen, at, bottom, at, bottom + 4);
    }
    pen.fillText(xTitle, box.left + box.width / 2, bottom + 32);
    pen.textAlign = "right";
    for (const y of log ? powers(y0, y1) : round(y0, y1, 4)) {
      const at = box.top + (1 - (y - y0) / (y1 - y0)) * box.height;
      pen.fillText(short(log ? 10 ** y : y), box.left - 7, at + 4);
      this.mark(pen, box.left - 4, at, box.left, at);
    }
    pen.textAlign = "left";
    pen.fillText(yTitle, 4, 11);
  }

  mark(pen, ...[x0, y0, x1, y1]) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }

  path(pen, x, y, px, py, color, dash, width, alpha) {
    pen.strokeStyle = color;
    pen.globalAlpha = alpha;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    let down = false;
    for (let i = 0; i < x.length; i++) {
      const at = py(y[i]);
      if (!Number.isFinite(at)) { down = false; continue; }
      if (down) pen.lineTo(px(x[i]), at);
      else pen.moveTo(px(x[i]), at);
      down = true;
    }
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  bar(pen, { low, high, values, color, dash, fill }, px, py, faint) {
    const step = (high - low) / values.length;
    pen.beginPath();
    pen.moveTo(px(low), py(0));
    values.forEach((value, i) => {
      pen.lineTo(px(low + i * step), py(value));
      pen.lineTo(px(low + (i + 1) * step), py(value));
    });
    pen.lineTo(px(high), py(0));
    if (fill) {
      pen.fillStyle = faint;
      pen.globalAlpha = 0.35;
      pen.fill();
      pen.globalAlpha = 1;
    }
    pen.strokeStyle = color;
    pen.lineWidth = 1.4;
    pen.setLineDash(dash || []);
    pen.stroke();
    pen.setLineDash([]);
  }

  // What lies under a place of the canvas, in words.
  at(offset) {
    if (!this.frame || this.frame.range === null) return "";
    const { box, range: [x0, x1], lines, bars } = this.frame;
    const x = x0 + (offset - box.left) / box.width * (x1 - x0);
    if (x < x0 || x > x1) return "";
    const words = [];
    let place = null;
    for (const line of lines) {
      if (!line.name || !line.x.length) continue;
      let low = 0, high = line.x.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (line.x[middle] < x) low = middle + 1;
        else high = middle;
      }
      place = place === null ? line.x[low] : place;
      words.push(`${line.name} ${short(line.y[low])}`);
    }
    for (const bar of bars) {
      if (!bar.name) continue;
      const i = Math.min(bar.values.length - 1,
        Math.floor((x - bar.low) / (bar.high - bar.low) * bar.values.length));
      words.push(`${bar.name} ${short(bar.values[i])}`);
    }
    return words.length ? `at ${short(place === null ? x : place)}: ${words.join(", ")}` : "";
  }
}

// --- focus --------------------------------------------------------------------------------------
// The end of a run is written into the notebook, which draws the output anew: a new view takes the
// place of the old one, and who works by keyboard must not be thrown out of it.

const CONTROLS = "button, select, input, [tabindex]";
let focus = null; // the panel whose view has the focus, and the place of its control
let left = 0; // when it was lost

const follow = (model, root) => {
  root.addEventListener("focusin", event => {
    focus = { panel: model.get("panel"), at: [...root.querySelectorAll(CONTROLS)].indexOf(event.target) };
    left = Infinity;
  });
  root.addEventListener("focusout", () => { left = Date.now(); });
};

const recover = (model, root, tries = 60) => {
  if (focus === null || focus.panel !== model.get("panel") || Date.now() - left > 3000) return;
  if (root.isConnected && !document.activeElement.contains(root)) return; // it is elsewhere by now
  const control = [...root.querySelectorAll(CONTROLS)][focus.at];
  if (root.isConnected && control) control.focus({ preventScroll: true });
  else if (tries) setTimeout(() => recover(model, root, tries - 1), 50);
};

// --- the end of the kernel ------------------------------------------------------------------------

const ENDS = ["restarting", "autorestarting", "terminating", "dead"];

// Calls back when the kernel ends or is begun anew, where the front end says so; how to leave.
const hearEnd = (manager, call) => {
  const source = (manager && manager.context && manager.context.sessionContext) || (manager && manager.kernel);
  if (!source || !source.statusChanged) return () => {};
  const slot = (_, status) => { if (ENDS.includes(status)) call(); };
  source.statusChanged.connect(slot);
  return () => source.statusChanged.disconnect(slot);
};

// --- one view -----------------------------------------------------------------------------------

class View {
  constructor(model, el) {
    this.model = model;
    this.curves = new Map();
    this.header = null;
    this.look = null;
    this.messages = 0;
    this.expected = null;
    this.closed = false;
    this.said = 0;
    this.build(el);
    this.plot = new Plot(this.canvas);
    this.onMessage = (content, buffers) => this.receive(content, buffers);
    this.onChange = () => this.refresh();
    model.on("msg:custom", this.onMessage);
    model.on("change", this.onChange);
    this.gone = false;
    this.onEnd = () => { this.gone = true; this.refresh(); };
    model.on("comm_live_update", this.onChange);
    this.leaveKernel = hearEnd(model.widget_manager, this.onEnd);
    this.watch = new MutationObserver(() => this.later());
    this.watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    this.size = new ResizeObserver(() => this.later());
    this.size.observe(this.canvas);
    this.refresh();
    recover(model, this.root);
    follow(model, this.root);
    this.tell({ need: true });
  }

  close() {
    this.closed = true;
    this.model.off("msg:custom", this.onMessage);
    this.model.off("change", this.onChange);
    this.model.off("comm_live_update", this.onChange);
    this.leaveKernel();
    this.watch.disconnect();
    this.size.disconnect();
  }

  build(el) {
    this.root = make("div", { class: "qvr-run", role: "group", "aria-label": "Run" });
    this.title = make("span", { class: "qvr-title" });
    this.badge = make("span", { class: "qvr-state" });
    this.bar = make("progress", { max: "1", value: "0", "aria-label": "progress" });
    this.clock = make("span", { class: "qvr-clock" });
    const head = make("div", { class: "qvr-head" }, this.title, this.badge, this.bar, this.clock);
    this.buttons = {};
    const verbs = make("div", { class: "qvr-verbs", role: "toolbar", "aria-label": "Run" });
    for (const [verb, label, title] of VERBS) {
      const button = make("button", { type: "button", class: `qvr-verb qvr-${verb}`, title, text: label });
      button.addEventListener("click", () => this.tell({ verb }));
      this.buttons[verb] = button;
      verbs.append(button);
    }
    this.code = make("button", { type: "button", class: "qvr-verb qvr-code", "aria-expanded": "false",
      text: "Settings as code" });
    this.code.addEventListener("click", () => this.set("show_code", !this.model.get("show_code")));
    verbs.append(this.code);
    this.listing = make("pre", { class: "qvr-listing", tabindex: "0", "aria-label": "code" });
    this.message = make("div", { class: "qvr-message", role: "alert" });
    this.facts = make("div", { class: "qvr-facts" });
    this.canvas = make("canvas", { class: "qvr-canvas", role: "img" });
    this.canvas.addEventListener("mousemove", event => {
      this.readout.textContent = this.plot.at(event.offsetX) || " ";
    });
    this.canvas.addEventListener("mouseleave", () => { this.readout.textContent = " "; });
    this.readout = make("div", { class: "qvr-readout", text: " " });
    this.legend = make("div", { class: "qvr-legend", "aria-hidden": "true" });
    this.table = make("div", { class: "qvr-table", tabindex: "0", role: "region", "aria-label": "numbers" });
    this.chains = make("div", { class: "qvr-table qvr-chains" });
    this.parameters = make("div", { class: "qvr-table qvr-parameters" });
    this.live = make("div", { class: "qvr-live", "aria-live": "polite" });
    this.root.append(head, verbs, this.listing, this.message, this.facts, this.tabs(),
      this.controls(), this.canvas, this.readout, this.legend, this.table, this.chains,
      this.parameters, this.live);
    // Enter and Space belong to the buttons: the notebook must not run the cell for them.
    this.root.addEventListener("keydown", event => event.stopPropagation());
    el.append(this.root);
  }

  tabs() {
    const list = make("div", { class: "qvr-tabs", role: "tablist", "aria-label": "what is shown" });
    this.tab = {};
    for (const [tab, label] of TABS) {
      const button = make("button", { type: "button", role: "tab", class: "qvr-tab", text: label });
      button.addEventListener("click", () => this.choose(tab));
      button.addEventListener("keydown", event => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const shown = TABS.map(([name]) => name).filter(name => !this.tab[name].hidden);
        const next = shown[(shown.indexOf(tab) + step + shown.length) % shown.length];
        this.choose(next);
        this.tab[next].focus();
      });
      this.tab[tab] = button;
      list.append(button);
    }
    return list;
  }

  controls() {
    const row = make("div", { class: "qvr-controls" });
    const labelled = (words, input) => make("label", {}, `${words} `, input);
    this.parameter = make("select", { class: "qvr-parameter" });
    this.parameter.addEventListener("change", () => {
      this.set("parameter", this.parameter.value);
      this.tell({ look: true });
    });
    this.smoothing = make("input", { type: "range", min: "0", max: "0.99", step: "0.01" });
    this.smoothing.addEventListener("input", () => this.set("smoothing", Number(this.smoothing.value)));
    this.log = make("input", { type: "checkbox", class: "qvr-log" });
    this.log.addEventListener("change", () => this.set("log_scale", this.log.checked));
    this.asTable = make("input", { type: "checkbox", class: "qvr-as-table" });
    this.asTable.addEventListener("change", () => this.set("as_table", this.asTable.checked));
    this.labels = {
      parameter: labelled("parameter", this.parameter),
      smoothing: labelled("smoothing", this.smoothing),
      log: labelled("log scale", this.log),
    };
    row.append(...Object.values(this.labels), labelled("show as table", this.asTable));
    return row;
  }

  set(name, value) {
    this.model.set(name, value);
    if (!this.gone) this.model.save_changes();
  }

  tell(content) {
    try {
      this.model.send(content);
    } catch (error) { // the way to the kernel is closed for good
      console.warn("quivers-nb:", error);
      if (!this.gone) this.onEnd();
    }
  }

  choose(tab) {
    this.look = null;
    this.set("tab", tab);
    this.tell({ look: true });
  }

  // --- what arrives ---

  receive(content, buffers) {
    this.gone = false;
    if (content.kind === "kept") {
      this.keep(content.data);
      return;
    }
    if (content.kind === "curves") this.receiveCurves(content, buffers);
    else if (content.kind === "look") this.receiveLook(content, buffers);
    this.messages += 1;
    this.root.dataset.messages = String(this.messages);
    this.later();
  }

  // A widget has no way to the notebook; our extension of the page has, and listens.
  keep(data) {
    if (this.closed) return;
    if (!this.root.isConnected) setTimeout(() => this.keep(data), 500);
    else this.root.dispatchEvent(new CustomEvent("qvr-kept", { bubbles: true, detail: data }));
  }

  receiveCurves(header, buffers) {
    if (header.sequence === 0) {
      this.curves.clear();
      this.look = null;
    } else if (header.sequence !== this.expected) {
      this.expected = null;
      this.tell({ need: true });
      return;
    }
    this.expected = header.sequence + 1;
    const numbers = floats(buffers[0]);
    let at = 0;
    for (const [name, [first, count]] of Object.entries(header.columns)) {
      if (!this.curves.has(name)) this.curves.set(name, new Curve());
      const curve = this.curves.get(name);
      for (let i = 0; i < count; i++) curve.add(first + numbers[at + i], numbers[at + count + i]);
      at += 2 * count;
    }
    this.header = header;
    this.root.dataset.sequence = String(header.sequence);
  }

  receiveLook(header, buffers) {
    if (header.tab !== this.model.get("tab")) return;
    this.look = { ...header, arrays: buffers.map(floats) };
    this.root.dataset.look = header.tab;
  }

  // --- what is shown ---

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (!this.canvas.isConnected) return;
      this.refresh();
      if (this.header) this.tell({ seen: this.header.sequence + 1 });
    });
  }

  refresh() {
    const info = this.model.get("info");
    const told = this.header && info.run === this.header.run ? this.header.state : info.state;
    // ipywidgets marks the view of a model whose kernel was restarted
    const gone = this.gone || this.root.closest(".jupyter-widgets-disconnected") !== null;
    const state = gone && LIVE.includes(told) ? "lost" : told;
    const live = LIVE.includes(state);
    this.root.dataset.state = state;
    this.title.textContent = info.title;
    this.badge.textContent = state;
    this.root.setAttribute("aria-label", `Run: ${info.title}, ${state}`);
    const can = {
      start: !live && info.valid,
      pause: state === "warming" || state === "running",
      resume: state === "paused",
      stop: live && state !== "stopping",
      abort: live,
      nuts: info.hands_over && state !== "failed" && info.run_method === "svi" && state !== "created",
    };
    for (const [verb, button] of Object.entries(this.buttons)) button.disabled = gone || !can[verb];
    this.code.setAttribute("aria-expanded", String(this.model.get("show_code")));
    this.listing.hidden = !this.model.get("show_code");
    this.listing.textContent = info.code;
    const words = [info.message, gone ? GONE : ""].filter(Boolean).join("\n");
    if (words !== this.message.textContent) this.message.textContent = words;
    this.message.hidden = !words;
    this.message.classList.toggle("qvr-bad", state === "failed" || state === "lost" || info.bad);
    this.progress(live);
    this.controlsFor(this.model.get("tab"), info);
    this.picture(info);
    this.tablesBelow(info);
    this.speak(info, state);
  }

  progress(live) {
    const h = this.header;
    if (h === null) {
      this.bar.value = 0;
      this.clock.textContent = "";
      return;
    }
    const [made, total] = h.pilot || [h.iteration, h.total];
    if (total) this.bar.value = made / total;
    else this.bar.removeAttribute("value");
    const left = live && h.eta ? `, ${time(h.eta)} to go` : "", pilot = h.pilot ? "pilot run: " : "";
    this.clock.textContent = `${pilot}${made}${total ? ` of ${total}` : ""} in ${time(h.elapsed)}${left}`;
  }

  controlsFor(tab, info) {
    for (const [name, button] of Object.entries(this.tab)) {
      button.setAttribute("aria-selected", String(name === tab));
      button.tabIndex = name === tab ? 0 : -1;
    }
    for (const name of ["trace", "rank"]) this.tab[name].hidden = info.run_method !== "nuts";
    this.tab.curves.textContent = info.run_method === "nuts" ? "Log density" : "Loss";
    this.labels.parameter.hidden = !["trace", "rank", "density"].includes(tab);
    this.labels.smoothing.hidden = tab !== "curves" || info.run_method === "nuts";
    this.labels.log.hidden = tab !== "curves" || info.run_method === "nuts";
    this.smoothing.value = String(this.model.get("smoothing"));
    this.log.checked = this.model.get("log_scale");
    this.asTable.checked = this.model.get("as_table");
    const names = this.look && this.look.names ? this.look.names : null;
    if (names && names.join() !== [...this.parameter.options].map(o => o.value).join()) {
      this.parameter.replaceChildren(...names.map(name => make("option", { value: name, text: name })));
    }
    const chosen = this.model.get("parameter");
    this.parameter.value = names && !names.includes(chosen) ? names[0] : chosen;
  }

  picture(info) {
    // A view that is not on the page yet has no colour.
    const ink = getComputedStyle(this.root).color.match(/[\d.]+/g) || [0, 0, 0];
    CHAINS = ink.slice(0, 3).reduce((sum, part) => sum + Number(part), 0) > 3 * 128 ? ON_DARK : ON_LIGHT;
    const tab = this.model.get("tab");
    const scene = tab === "curves" ? this.curveScene(info) : this.lookScene(tab, info);
    const table = this.model.get("as_table");
    this.canvas.hidden = table;
    this.readout.hidden = table;
    this.table.hidden = !table;
    if (table) this.table.replaceChildren(tableOf(scene));
    else this.plot.draw(scene);
    this.canvas.setAttribute("aria-label", this.words(scene));
    this.legend.replaceChildren(...legendOf(scene));
  }

  curveScene(info) {
    const lines = [], amount = this.model.get("smoothing");
    let ticks = [];
    for (const [name, curve] of this.curves) {
      const [x, y] = curve.points();
      const chain = Number((/\[(\d+)\]/.exec(name) || [0, 0])[1]);
      const color = CHAINS[chain % CHAINS.length], dash = DASHES[chain % DASHES.length];
      if (name.startsWith("divergent")) ticks = ticks.concat([...y]);
      else if (name === "loss") {
        lines.push({ x, y, color, alpha: amount > 0 ? 0.3 : 1, name: amount > 0 ? "" : "loss" });
        if (amount > 0) lines.push({ x, y: smoothed(y, amount), color, width: 2, name: "loss, smoothed" });
      } else lines.push({ x, y: y, color, name: `chain ${chain}`, width: 1 });
    }
    const nuts = info.run_method === "nuts";
    return {
      lines, ticks, tail: lines.length ? 0.01 : 0, shade: nuts ? info.warmup : null,
      log: !nuts && this.model.get("log_scale"), xTitle: nuts ? "transition" : "step",
      yTitle: nuts ? "log density" : "loss",
    };
  }

  lookScene(tab, info) {
    const look = this.look;
    if (look === null || look.tab !== tab || !look.arrays.length) {
      return { lines: [], note: look && look.note ? look.note : "" };
    }
    const [numbers] = look.arrays;
    const color = k => CHAINS[k % CHAINS.length], dash = k => DASHES[k % DASHES.length];
    const name = k => (info.run_method === "nuts" ? `chain ${k}` : "guide");
    if (tab === "trace") {
      let at = 0;
      const lines = look.counts.map((count, k) => {
        const y = numbers.subarray(at, at + count);
        const x = Float64Array.from({ length: count }, (_, i) => i * (look.draws - 1) / Math.max(count - 1, 1));
        at += count;
        return { x, y, color: color(k), name: name(k), width: 1, alpha: 0.8 };
      });
      return { lines, xTitle: "draw", yTitle: this.parameter.value };
    }
    if (tab === "rank") {
      const bars = Array.from({ length: look.chains }, (_, k) => ({
        low: 0, high: 1, values: [...numbers.subarray(k * look.bins, (k + 1) * look.bins)],
        color: color(k), dash: dash(k), name: name(k),
      }));
      return { bars, zero: true, level: look.expected, xTitle: "rank among all draws", yTitle: this.parameter.value };
    }
    if (tab === "density") return this.densityScene(look, numbers, color, dash, name);
    const step = (look.grid[1] - look.grid[0]) / look.bins;
    const x = Float64Array.from({ length: look.bins }, (_, i) => look.grid[0] + (i + 0.5) * step);
    const rows = numbers.length / look.bins;
    const bars = [{ low: look.grid[0], high: look.grid[1], values: [...numbers.subarray(0, look.bins)],
      color: CHAINS[1], fill: true, name: look.site }];
    const lines = Array.from({ length: rows - 1 }, (_, k) => ({
      x, y: numbers.subarray((k + 1) * look.bins, (k + 2) * look.bins), color: CHAINS[0], alpha: 0.45,
      width: 1, name: k === 0 ? "predicted" : "",
    }));
    return { lines, bars, zero: true, xTitle: look.site, yTitle: "share of the values" };
  }

  densityScene(look, numbers, color, dash, name) {
    const [low, high] = look.grid, count = numbers.length / look.chains;
    const x = Float64Array.from({ length: count }, (_, i) => low + (high - low) * i / (count - 1));
    const lines = Array.from({ length: look.chains }, (_, k) => ({
      x, y: numbers.subarray(k * count, (k + 1) * count), color: color(k), dash: dash(k), name: name(k),
    }));
    return { lines, zero: true, xTitle: this.parameter.value, yTitle: "density", interval: look.interval };
  }

  words(scene) {
    const lines = (scene.lines || []).filter(line => line.name);
    const bars = (scene.bars || []).filter(bar => bar.name);
    const last = lines.map(line => `${line.name} ${short(line.y[line.y.length - 1])}`);
    const what = `${scene.yTitle || "nothing"} over ${scene.xTitle || "nothing"}`;
    return `${what}; ${last.concat(bars.map(bar => bar.name)).join(", ")}`;
  }

  tablesBelow(info) {
    const h = this.header, look = this.look, facts = [];
    const fact = (name, value, bad) => facts.push(make("span", { class: bad ? "qvr-fact qvr-bad" : "qvr-fact" },
      make("b", { text: name }), ` ${value}`));
    if (h && info.run_method === "nuts") {
      const known = look && look.r_hat !== undefined;
      fact("R-hat", known ? short(look.r_hat) : "–", known && look.r_hat > 1.01);
      fact("ESS", known ? short(look.ess) : "–", known && look.ess < 100 * h.chains.length && h.last);
      const diverged = h.chains.reduce((sum, chain) => sum + chain[2], 0);
      fact("divergences", diverged, diverged > 0);
      fact("E-BFMI", known ? short(look.e_bfmi) : "–", known && look.e_bfmi !== null && look.e_bfmi < 0.3);
    } else if (h && this.curves.has("loss") && this.curves.get("loss").n) {
      const [, y] = this.curves.get("loss").points();
      const tail = smoothed(y, 0.97);
      fact("loss", short(tail[tail.length - 1]), !Number.isFinite(y[y.length - 1]));
      fact("speed", h.elapsed > 0 ? `${short(h.iteration / h.elapsed)} steps/s` : "–");
    }
    this.facts.replaceChildren(...facts);
    const chains = h && info.run_method === "nuts" ? h.chains : [];
    this.chains.replaceChildren(...(chains.length ? [rows(
      ["chain", "phase", "transition", "divergences", "step size", "tree depth"],
      chains.map((c, k) => [`${k}`, c[1] ? "warm-up" : c[0] === h.total ? "done" : "drawing", c[0], c[2], short(c[3]), c[4]])
    )] : []));
    const stats = look && look.rows ? look.rows : [];
    const heads = ["parameter", "mean", "sd", "R-hat", "ESS"].slice(0, stats.length ? stats[0].length : 0);
    const bad = row => row.length > 3 && row[3] > 1.01;
    this.parameters.replaceChildren(...(stats.length ? [rows(heads,
      stats.map(row => row.map((v, i) => (i ? short(v) : v))), row => bad(row.map(Number)))] : []));
  }

  speak(info, state) {
    const now = Date.now();
    if (now - this.said < 5000 && state === this.spoken) return;
    const words = `${info.title}: ${state}. ${this.clock.textContent}. ${this.facts.textContent}`;
    if (words !== this.live.textContent) this.live.textContent = words;
    this.said = now;
    this.spoken = state;
  }
}

const floats = view => {
  // The view may be a window on a larger buffer, at any offset: copy.
  const copy = new Uint8Array(view.byteLength);
  copy.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  return new Float32Array(copy.buffer);
};

const rows = (heads, body, bad = () => false) => make("table", {},
  make("thead", {}, make("tr", {}, ...heads.map(text => make("th", { scope: "col", text })))),
  make("tbody", {}, ...body.map(cells => make("tr", bad(cells) ? { class: "qvr-bad" } : {},
    ...cells.map(text => make("td", { text: String(text) }))))));

// Twenty places, evenly spaced, of everything that has a name.
const tableOf = scene => {
  const named = (scene.lines || []).filter(line => line.name && line.x.length);
  const bars = (scene.bars || []).filter(bar => bar.name);
  if (bars.length) {
    const count = bars[0].values.length, width = (bars[0].high - bars[0].low) / count;
    return rows([scene.xTitle, ...bars.map(bar => bar.name)], Array.from({ length: count }, (_, i) => [
      short(bars[0].low + (i + 0.5) * width), ...bars.map(bar => short(bar.values[i])),
    ]));
  }
  if (!named.length) return make("p", { text: "no numbers yet" });
  const longest = Math.max(...named.map(line => line.x.length)), count = Math.min(20, longest);
  return rows([scene.xTitle, ...named.map(line => line.name)], Array.from({ length: count }, (_, k) => {
    const share = count > 1 ? k / (count - 1) : 1;
    const place = line => Math.round(share * (line.x.length - 1));
    return [short(named[0].x[place(named[0])]), ...named.map(line => short(line.y[place(line)]))];
  }));
};

const legendOf = scene => [...(scene.lines || []), ...(scene.bars || [])].filter(each => each.name).map(each => {
  const dash = (each.dash || []).length ? "dashed" : "solid";
  const sign = make("span", { class: "qvr-sign", style: `border-top: 2px ${dash} ${each.color}` });
  return make("span", {}, sign, ` ${each.name}`);
}).concat(scene.note ? [make("span", { text: scene.note })] : []);

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};
