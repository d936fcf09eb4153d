"use strict";
/* Packed volumes out of the page, and what follows from two label maps: outlines and errors. */

const HEADER = 352; // bytes before a packed NIfTI's voxels

async function gunzip(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* A volume's bytes: from a data island of the page, or, under `kits-submit view`, from its own server. */
async function volumeBytes(source) {
  if (source.url) {
    const answer = await fetch(source.url);
    if (!answer.ok) throw new Error(`${source.url}: ${answer.status}`);
    return gunzip(new Uint8Array(await answer.arrayBuffer()));
  }
  return gunzip(islandBytes(source.island));
}

function islandBytes(id) {
  const raw = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) bytes[n] = raw.charCodeAt(n);
  return bytes;
}

function dimsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return [1, 2, 3].map((n) => view.getInt16(40 + 2 * n, true));
}

/* The same grid with one byte a voxel, all zero: what an overlay is drawn into. */
function blankLike(bytes) {
  const [x, y, z] = dimsOf(bytes);
  const blank = new Uint8Array(HEADER + x * y * z);
  blank.set(bytes.subarray(0, HEADER));
  const view = new DataView(blank.buffer);
  view.setInt16(70, 2, true);
  view.setInt16(72, 8, true);
  view.setFloat32(112, 1, true);
  view.setFloat32(116, 0, true);
  return blank;
}

/**
 * The voxels of each class that touch another, along the axes of a plane.
 * @param {string} plane axial, coronal, sagittal; any other: along all three axes
 */
function outlineOf(classes, dims, plane) {
  const [nx, ny, nz] = dims;
  const steps = { axial: [1, nx], coronal: [1, nx * ny], sagittal: [nx, nx * ny] }[plane] || [1, nx, nx * ny];
  const edge = new Uint8Array(classes.length);
  for (let n = 0; n < classes.length; n++) {
    const own = classes[n];
    if (own && steps.some((s) => classes[n - s] !== own || classes[n + s] !== own)) edge[n] = own;
  }
  return edge;
}

/* 1 false, 2 missed, 3 one class called another: the order of the page's error colours. */
function errorsOf(predicted, truth) {
  const wrong = new Uint8Array(predicted.length);
  for (let n = 0; n < wrong.length; n++) {
    if (predicted[n] !== truth[n]) wrong[n] = truth[n] === 0 ? 1 : predicted[n] === 0 ? 2 : 3;
  }
  return wrong;
}
