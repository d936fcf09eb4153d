"use strict";
/* What hand and keyboard do to a viewer. */

Object.assign(Viewer.prototype, {
  listen() {
    this.stopping = new AbortController();
    const on = (target, event, act, options = {}) =>
      target.addEventListener(event, act, { signal: this.stopping.signal, ...options });
    on(this.root, "click", (event) => {
      const button = event.target.closest("button[data-act]");
      if (button) this.act(button.dataset.act, button.dataset.value);
    });
    on(this.root, "input", (event) => {
      const { name, value, checked } = event.target;
      if (name === "slice") this.toSlice(Number(value));
      else if (name === "opacity") this.act("opacity", Number(value));
      else if (name === "overlay") this.act("overlay", value, checked);
    });
    on(this.root, "keydown", (event) => this.key(event), { capture: true });
    this.controls();
  },

  act(what, value, checked) {
    if (what === "view") this.show(value);
    else if (what === "window") this.setWindow(value);
    else if (what === "style") this.style = value;
    else if (what === "opacity") { this.opacity = value; this.style = "fill"; }
    else if (what === "overlay") this.overlays[Number(value)].shown = checked ?? !this.overlays[Number(value)].shown;
    else if (what === "jump") { this.current = Number(value); return this.jumpTo(this.current); }
    if (["style", "opacity", "overlay"].includes(what)) this.paint();
    return this.tellState();
  },

  setWindow(name) {
    this.window = name;
    [this.nv.volumes[0].cal_min, this.nv.volumes[0].cal_max] = WINDOWS[name];
    this.nv.updateGLVolume();
  },

  jumpTo(number) {
    const { at } = this.data.findings[number];
    if (this.view === "surface") this.show("multi");
    this.jump(at);
    this.tellState();
  },

  toSlice(index) {
    const axis = PLANES[this.view] ?? 2, mm = [...this.at];
    mm[axis] = -index * this.data.spacing_mm[2 - axis];
    this.go(mm);
  },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    const overlay = { p: "prediction", l: "label", e: "errors" }[event.key];
    const number = this.overlays.findIndex((one) => one.name === overlay);
    const step = (by) => () => this.step(by * (event.shiftKey ? 5 : 1));
    const keys = {
      ArrowUp: step(-1), ArrowDown: step(1), PageUp: () => this.step(-10), PageDown: () => this.step(10),
      ArrowLeft: () => this.turn(-1), ArrowRight: () => this.turn(1),
      w: () => this.act("window", nextOf(Object.keys(WINDOWS), this.window)),
      o: () => this.act("style", this.style === "fill" ? "outline" : "fill"),
      "[": () => this.act("opacity", Math.max(0.1, this.opacity - 0.1)),
      "]": () => this.act("opacity", Math.min(1, this.opacity + 0.1)),
    };
    Object.keys(VIEWS).forEach((view, n) => { keys[n + 1] = () => this.act("view", view); });
    if (number >= 0) keys[event.key] = () => this.act("overlay", number);
    if (event.target.matches("button") && [" ", "Enter"].includes(event.key)) return;
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation(); // NiiVue's own keys would act as well
    keys[event.key]();
  },

  /* To the next lesion or error of the list. */
  turn(by) {
    const count = this.data.findings.length;
    if (count) this.act("jump", ((this.current ?? (by > 0 ? -1 : 0)) + by + count) % count);
  },

  controls() {
    const box = this.root.querySelector(".overlays");
    box.replaceChildren(...this.overlays.map((one, n) => {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "checkbox", name: "overlay", value: n });
      label.append(input, ` ${one.name}`);
      return label;
    }));
  },

  /* Controls show the state, whoever changed it. */
  tellState() {
    const state = { view: this.view, window: this.window, style: this.style, jump: String(this.current) };
    for (const button of this.root.querySelectorAll("button[data-act]")) {
      button.setAttribute("aria-pressed", String(state[button.dataset.act] === button.dataset.value));
    }
    this.overlays.forEach((one, n) => { this.root.querySelectorAll("input[name=overlay]")[n].checked = one.shown; });
    this.root.querySelector("input[name=opacity]").value = this.opacity;
    this.moved({ mm: this.at });
  },

  huAt() {
    const [x, y, z] = this.packedVoxel(), { img, hdr } = this.nv.volumes[0];
    const stored = img[x + this.dims[0] * (y + this.dims[1] * z)];
    return Math.round(stored * (hdr.scl_slope || 1) + hdr.scl_inter);
  },
});

function nextOf(list, current) {
  return list[(list.indexOf(current) + 1) % list.length];
}
