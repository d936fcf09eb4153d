"use strict";
/* Surfaces of label maps by naive surface nets (Gibson 1998): a vertex a cell that the surface crosses, a quad an edge. */

/**
 * The surface of the voxels whose class is wanted.
 * @param {Uint8Array} classes one a voxel, x fastest
 * @param {number[]} dims voxels along x, y, z
 * @param {Set<number>} wanted
 * @returns {{points: Float32Array, triangles: Uint32Array}|null} points in voxel indices; null where there is none
 */
function surfaceOf(classes, dims, wanted) {
  const box = boxOf(classes, dims, wanted);
  if (!box) return null;
  const [low, high] = box;
  const size = [0, 1, 2].map((a) => high[a] - low[a] + 2); // cells, one beyond the box on each side
  const inside = (x, y, z) =>
    x >= low[0] && y >= low[1] && z >= low[2] && x <= high[0] && y <= high[1] && z <= high[2] &&
    wanted.has(classes[x + dims[0] * (y + dims[1] * z)]) ? 1 : 0;
  const vertexOf = new Int32Array(size[0] * size[1] * size[2]).fill(-1);
  const cell = (i, j, k) => i + size[0] * (j + size[1] * k);
  const points = [];
  for (let k = 0; k < size[2]; k++) for (let j = 0; j < size[1]; j++) for (let i = 0; i < size[0]; i++) {
    const at = cellVertex(inside, low[0] - 1 + i, low[1] - 1 + j, low[2] - 1 + k);
    if (at) {
      vertexOf[cell(i, j, k)] = points.length / 3;
      points.push(...at);
    }
  }
  const triangles = quads(inside, low, size, (i, j, k) => vertexOf[cell(i, j, k)]);
  return { points: smoothed(Float32Array.from(points), triangles, 4), triangles };
}

function boxOf(classes, dims, wanted) {
  const low = [...dims], high = [-1, -1, -1];
  let n = 0;
  for (let z = 0; z < dims[2]; z++) for (let y = 0; y < dims[1]; y++) for (let x = 0; x < dims[0]; x++) {
    if (!wanted.has(classes[n++])) continue;
    [x, y, z].forEach((v, a) => { low[a] = Math.min(low[a], v); high[a] = Math.max(high[a], v); });
  }
  return high[0] < 0 ? null : [low, high];
}

/* The mean of where the surface crosses the cell's twelve edges; null where all corners are on one side. */
function cellVertex(inside, x, y, z) {
  const corner = [];
  for (let n = 0; n < 8; n++) corner.push(inside(x + (n & 1), y + ((n >> 1) & 1), z + (n >> 2)));
  const sum = corner.reduce((a, b) => a + b);
  if (sum === 0 || sum === 8) return null;
  const at = [0, 0, 0];
  let crossings = 0;
  for (let n = 0; n < 8; n++) for (let axis = 0; axis < 3; axis++) {
    const m = n | (1 << axis);
    if (m === n || corner[n] === corner[m]) continue;
    for (let a = 0; a < 3; a++) at[a] += (((n >> a) & 1) + ((m >> a) & 1)) / 2;
    crossings++;
  }
  return [x + at[0] / crossings, y + at[1] / crossings, z + at[2] / crossings];
}

function quads(inside, low, size, vertex) {
  const triangles = [];
  const next = [[1, 2], [2, 0], [0, 1]];
  for (let k = 1; k < size[2]; k++) for (let j = 1; j < size[1]; j++) for (let i = 1; i < size[0]; i++) {
    const at = [i, j, k], voxel = at.map((v, a) => low[a] - 1 + v);
    const here = inside(...voxel);
    for (let axis = 0; axis < 3; axis++) {
      const there = [...voxel];
      there[axis] += 1;
      if (here === inside(...there)) continue;
      const [u, v] = next[axis];
      const q = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([du, dv]) => {
        const c = [...at];
        c[u] -= du;
        c[v] -= dv;
        return vertex(...c);
      });
      if (q.some((n) => n < 0)) continue;
      if (here) triangles.push(q[0], q[2], q[1], q[0], q[3], q[2]);
      else triangles.push(q[0], q[1], q[2], q[0], q[2], q[3]);
    }
  }
  return Uint32Array.from(triangles);
}

/* Each point drawn half way to the mean of its neighbours, `rounds` times. */
function smoothed(points, triangles, rounds) {
  for (let round = 0; round < rounds; round++) {
    const sum = new Float32Array(points.length), count = new Uint32Array(points.length / 3);
    for (let t = 0; t < triangles.length; t += 3) for (let e = 0; e < 3; e++) {
      const a = triangles[t + e], b = triangles[t + ((e + 1) % 3)];
      for (let c = 0; c < 3; c++) { sum[3 * a + c] += points[3 * b + c]; sum[3 * b + c] += points[3 * a + c]; }
      count[a]++;
      count[b]++;
    }
    for (let n = 0; n < count.length; n++) for (let c = 0; c < 3 && count[n]; c++) {
      points[3 * n + c] = (points[3 * n + c] + sum[3 * n + c] / count[n]) / 2;
    }
  }
  return points;
}
