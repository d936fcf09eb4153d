"use strict";
/* The viewer: NiiVue with windows, overlays, a list to jump by, keys. One at a time; it moves to the case that opens. */

const PLANES = { axial: 2, coronal: 1, sagittal: 0 }; // the world axis that a plane lies across
const VIEWS = { multi: 3, axial: 0, coronal: 1, sagittal: 2, surface: 4 };
const WINDOWS = { abdomen: [-160, 240], bone: [-200, 1000], wide: [-250, 600] };
let library = null;

function niivueLibrary() {
  library ??= (async () => {
    const code = await gunzip(islandBytes("niivue"));
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    await new Promise((done, failed) => {
      const script = Object.assign(document.createElement("script"), { src: url, onload: done, onerror: failed });
      document.head.append(script);
    });
    URL.revokeObjectURL(url);
    return window.niivue;
  })();
  return library;
}

function hasWebGl2() {
  try {
    return !!document.createElement("canvas").getContext("webgl2");
  } catch {
    return false;
  }
}

class Viewer {
  /** @param {HTMLElement} root the `.viewer` of the page; @param {object} data the case's JSON */
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.view = "multi";
    this.window = "abdomen";
    this.style = "outline";
    this.opacity = 0.6;
    this.meshed = false;
    this.at = [0, 0, 0]; // mm
  }

  async open() {
    const { Niivue } = await niivueLibrary();
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [1, 0.92, 0.35, 0.7], crosshairWidth: 0.3, crosshairGap: 10,
      isRadiologicalConvention: true, sagittalNoseLeft: true, dragAndDropEnabled: false, showLegend: false,
      isOrientationTextVisible: true, showAllOrientationMarkers: true, meshThicknessOn2D: 0, logLevel: "silent", loadingText: "", multiplanarShowRender: 0,
      fontColor: [1, 0.92, 0.59, 1], isRuler: false, isResizeCanvas: true, show3Dcrosshair: false, fontMinPx: 15,
    });
    await this.nv.attachToCanvas(this.root.querySelector("canvas"), false);
    this.nv.onLocationChange = (where) => this.moved(where);
    await this.load();
    this.listen();
    this.show("multi");
    this.jump(this.data.start);
    this.root.dataset.ready = "true";
  }

  async load() {
    const { NVImage } = window.niivue;
    const masks = await Promise.all(this.data.overlays.map((one) => volumeBytes(one.source)));
    this.dims = dimsOf(masks[0] || (this.scan = await volumeBytes(this.data.scan)));
    const scan = this.data.scan ? (this.scan ?? (await volumeBytes(this.data.scan))) : blankLike(masks[0]);
    const [low, high] = WINDOWS[this.window];
    await this.add(NVImage, scan, { name: "scan.nii", colormap: "gray", cal_min: low, cal_max: high });
    this.overlays = this.data.overlays.map((one, n) => ({ ...one, classes: masks[n].subarray(HEADER), shown: n === 0 }));
    if (this.data.errors_of) {
      const [a, b] = this.data.errors_of;
      this.overlays.push({ name: "errors", colours: this.data.error_colours, shown: true, filled: true,
        classes: errorsOf(this.overlays[a].classes, this.overlays[b].classes) });
      this.overlays[b].shown = true;
    }
    for (const one of this.overlays) {
      one.volume = await this.add(NVImage, blankLike(scan), { name: `${one.name}.nii`, opacity: 1 });
      one.volume.setColormapLabel(this.lut(one.colours));
    }
    this.paint();
  }

  async add(NVImage, bytes, options) {
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    const image = await NVImage.loadFromUrl({ url: buffer, ...options });
    this.nv.addVolume(image);
    return image;
  }

  lut(colours) {
    const all = [[0, 0, 0], ...colours];
    const channel = (n) => all.map((rgb) => rgb[n]);
    return { R: channel(0), G: channel(1), B: channel(2), A: all.map((_, n) => (n ? 255 : 0)), I: all.map((_, n) => n) };
  }

  /* Overlays as the controls say: outlines are drawn opaque, fills with the slider's opacity. */
  paint() {
    const flat = this.view !== "surface";
    for (const one of this.overlays) {
      const outline = this.style === "outline" && !one.filled;
      one.volume.img.set(outline ? outlineOf(one.classes, this.dims, this.view) : one.classes);
      one.volume.opacity = one.shown && flat ? (outline ? 1 : this.opacity) : 0;
    }
    this.nv.volumes[0].opacity = flat ? 1 : 0;
    for (const mesh of this.nv.meshes) mesh.visible = !flat;
    this.nv.updateGLVolume();
  }

  show(view) {
    this.view = view;
    if (view === "surface") this.surface();
    this.nv.setSliceType(VIEWS[view]);
    if (view === "surface") { this.nv.setRenderAzimuthElevation(180, 10); this.nv.setScale(1.7); }
    this.paint();
    this.tellState();
  }

  surface() {
    if (this.meshed || !this.overlays.length) return;
    this.meshed = true;
    const { NVMesh } = window.niivue;
    const [drawn] = this.overlays;
    drawn.colours.forEach((rgb, n) => {
      const found = surfaceOf(drawn.classes, this.dims, new Set([n + 1]));
      if (!found) return;
      const opaque = this.data.solid.includes(n + 1);
      const points = this.toMm(found.points);
      this.nv.addMesh(new NVMesh(points, found.triangles, drawn.names[n], [...rgb, 255], opaque ? 1 : 0.45, true, this.nv.gl));
    });
  }

  /* Voxel indices of the packed volume to its world: the affine is diagonal. */
  toMm(points) {
    const { affine } = this.nv.volumes[0].hdr;
    return points.map((value, n) => affine[n % 3][n % 3] * value + affine[n % 3][3]);
  }

  /* [z, y, x] of the scan's own voxels. */
  jump(voxel) {
    const [z, y, x] = voxel, [sz, sy, sx] = this.data.spacing_mm;
    this.go([-x * sx, -y * sy, -z * sz]);
  }

  go(mm) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm).map((part) => Math.min(1, Math.max(0, part)));
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  step(by) {
    const axis = PLANES[this.view] ?? 2;
    const mm = [...this.at], spacing = this.data.packed_mm[2 - axis];
    mm[axis] -= by * spacing;
    this.go(mm);
  }

  moved(where) {
    this.at = [...where.mm].slice(0, 3);
    const voxel = [2, 1, 0].map((axis, n) => Math.round(-this.at[axis] / this.data.spacing_mm[n]));
    this.voxel = voxel.map((v, n) => Math.min(this.data.shape[n] - 1, Math.max(0, v)));
    const axis = PLANES[this.view] ?? 2;
    const slider = this.root.querySelector(".slice");
    slider.max = this.data.shape[2 - axis] - 1;
    slider.value = this.voxel[2 - axis];
    const parts = [`slice ${this.voxel[0]} of ${this.data.shape[0]}, row ${this.voxel[1]}, column ${this.voxel[2]}`];
    if (this.data.scan) parts.push(`${this.huAt()} HU`);
    for (const one of this.overlays) if (one.names) parts.push(`${one.name}: ${this.classAt(one)}`);
    this.root.querySelector(".where").textContent = parts.join(" · ");
  }

  classAt(one) {
    const [x, y, z] = this.packedVoxel();
    const value = one.classes[x + this.dims[0] * (y + this.dims[1] * z)];
    return value ? one.names[value - 1] : "nothing";
  }

  /* The packed voxel, in its file's own order, at the cross-hair. */
  packedVoxel() {
    const { affine } = this.nv.volumes[0].hdr;
    return this.dims.map((size, n) => {
      const index = Math.round((this.at[n] - affine[n][3]) / affine[n][n]);
      return Math.min(size - 1, Math.max(0, index));
    });
  }

  close() {
    this.stopping?.abort();
    this.nv?.cleanup?.();
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
