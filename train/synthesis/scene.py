"""What a scan shows before a lesion is drawn into it: kidneys, contrast phase, noise, what cannot give way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from kits_submit.errors import InputError
from kits_submit.labels import BACKGROUND, KIDNEY, volume_ml
from kits_submit.types import Array, Image, Labels, Mask, Shape, Spacing

_HOST_MIN_ML = 25.0  # a fourth of KiTS19's smallest pair
_RIGID_HU = (-300.0, 320.0)  # gas below; bone and calcium above, unless it is contrast inside a kidney
_BONE_HU = 180.0
_BONE_MIN_ML = 2.0
_SOFT_HU = (-160.0, -20.0)  # fat: what gives way first
_UNENHANCED_BELOW_HU = 65.0
_EXCRETED_HU = 260.0
_EXCRETED_SHARE = 0.01
_MEDULLA_GAP_HU = 55.0  # cortex over medulla, of a corticomedullary phase
_INNER_MM = 3.0
_TO_THE_WALL_MM = 6.0
_SMOOTH_MM = 4.0  # over which a surface's normal is taken
_MOST_SIGMAS = 3.0


@dataclass(frozen=True)
class Host:
    """One kidney.

    - `surface_mm`, `normals`: (n, 3) points of its surface in mm along Z, Y, X, and outward unit normals there.
    - `wall_y_mm`: where the muscles behind it begin; nothing grows past them.
    """

    surface_mm: Array
    normals: Array
    volume_ml: float
    wall_y_mm: float

    @property
    def radius_mm(self) -> float:
        """Of the ball of its volume."""
        return float((self.volume_ml * 1000 * 3 / 4 / math.pi) ** (1 / 3))


@dataclass(frozen=True)
class Scene:
    """A scan measured. `cortex_hu`: of enhanced parenchyma; `noise_hu`, `grain_px`: noise and its in-plane blur."""

    image: Image
    labels: Labels
    spacing_mm: Spacing
    hosts: tuple[Host, ...]
    phase: str
    cortex_hu: float
    noise_hu: float
    grain_px: float

    @classmethod
    def measure(cls, image: Image, labels: Labels, spacing_mm: Spacing) -> Scene:
        """Measure a scan in KiTS's orientation.

        Raises:
            InputError: no kidney of at least 25 mL.
        """
        hosts = _hosts(labels, spacing_mm)
        if not hosts:
            raise InputError(f"no kidney of at least {_HOST_MIN_ML:g} mL is labelled", fix="label the kidneys as 1")
        inner = _inner(labels == KIDNEY, spacing_mm)
        phase, cortex = _phase(image[inner])
        noise, grain = _grain(image, inner)
        return cls(image, labels, spacing_mm, hosts, phase, cortex, noise, grain)

    @property
    def shape(self) -> Shape:
        z, y, x = self.image.shape
        return z, y, x

    def draw_host(self, rng: np.random.Generator) -> Host:
        """A kidney, the larger the likelier."""
        volumes = np.array([host.volume_ml for host in self.hosts])
        return self.hosts[int(rng.choice(len(volumes), p=volumes / volumes.sum()))]

    def room(self, points_mm: Array, host: Host) -> float:
        """Share of (n, 3) points that lie in the scan and in kidney or fat; those that cannot give count against it."""
        index = np.rint(points_mm / np.array(self.spacing_mm)).astype(np.intp)
        inside = ((index >= 0) & (index < self.shape)).all(axis=1)
        z, y, x = index[inside].T
        hu = self.image[z, y, x]
        soft = (self.labels[z, y, x] != BACKGROUND) | ((hu > _SOFT_HU[0]) & (hu < _SOFT_HU[1]))
        hard = self._rigid[z, y, x] | (y * self.spacing_mm[1] > host.wall_y_mm)
        return float((np.count_nonzero(soft & ~hard) - np.count_nonzero(hard)) / len(points_mm))

    def distance_to_rigid(self, box: tuple[slice, slice, slice], host: Host) -> Image:
        """Distance in mm, of each voxel of a box, to bone, gas or the wall behind the host; 0 inside them."""
        behind = np.arange(box[1].start, box[1].stop) * self.spacing_mm[1]
        wall = np.broadcast_to(np.maximum(host.wall_y_mm - behind, 0)[None, :, None], self._rigid[box].shape)
        if not self._rigid[box].any():
            return wall.astype(np.float32)
        bone: Array = ndimage.distance_transform_edt(~self._rigid[box], sampling=self.spacing_mm)
        return np.asarray(np.minimum(bone, wall), np.float32)

    def noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> Image:
        """Noise as this scan has it: blurred in plane, independent from slice to slice."""
        white = rng.standard_normal(shape, dtype=np.float32)
        if self.grain_px:
            white = ndimage.gaussian_filter(white, (0, self.grain_px, self.grain_px), mode="wrap")
        return np.asarray(white * (self.noise_hu / max(float(white.std()), 1e-6)), np.float32)

    @cached_property
    def _rigid(self) -> Mask:
        """Gas, lung and the outside; and bone: bright and, at a lower threshold, in one piece of at least 2 mL."""
        import cc3d

        bone = (self.image > _BONE_HU) & (self.labels == BACKGROUND)
        pieces = cc3d.connected_components(self.image > _RIGID_HU[1], connectivity=26, out_dtype=np.uint32)
        large = np.bincount(pieces.ravel()) * volume_ml(1, self.spacing_mm) >= _BONE_MIN_ML
        large[0] = False
        return np.asarray((self.image < _RIGID_HU[0]) | (large[pieces] & bone))


def _hosts(labels: Labels, spacing_mm: Spacing) -> tuple[Host, ...]:
    import cc3d

    pieces = cc3d.connected_components(labels != BACKGROUND, connectivity=26, out_dtype=np.uint32)
    hosts = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        mask = np.pad(pieces[box] == number, 1)
        kidney_ml = volume_ml(int(np.count_nonzero(mask[1:-1, 1:-1, 1:-1] & (labels[box] == KIDNEY))), spacing_mm)
        if kidney_ml >= _HOST_MIN_ML:
            first = np.array([part.start - 1 for part in box])
            hosts.append(_host(mask, first, spacing_mm, kidney_ml))
    return tuple(hosts)


def _host(mask: Mask, first: Array, spacing_mm: Spacing, kidney_ml: float) -> Host:
    surface = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    smooth: Image = ndimage.gaussian_filter(mask.astype(np.float32), [_SMOOTH_MM / s for s in spacing_mm])
    z, y, x = surface.T
    slopes: list[Image] = list(np.gradient(smooth, *spacing_mm))
    outward = -np.stack([slope[z, y, x] for slope in slopes], axis=1)
    length = np.linalg.norm(outward, axis=1)
    clear = length > 1e-6
    points = (surface[clear] + first) * np.array(spacing_mm)
    wall = float(np.percentile(points[:, 1], 97)) + _TO_THE_WALL_MM
    return Host(points, outward[clear] / length[clear, None], kidney_ml, wall)


def _inner(kidney: Mask, spacing_mm: Spacing) -> Mask:
    """Kidney away from its surface, where no voxel is half fat; all of it where nothing is that deep."""
    deep = np.zeros_like(kidney)
    (box,) = ndimage.find_objects(kidney.astype(np.uint8))
    depth_mm = ndimage.distance_transform_edt(np.pad(kidney[box], 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    deep[box] = depth_mm > _INNER_MM
    return deep if deep.any() else kidney


def _phase(hu: Array) -> tuple[str, float]:
    """The contrast phase, by the spread of a kidney's HU, and the cortex's HU."""
    medulla, cortex = (float(v) for v in np.percentile(hu, (20, 80)))
    if cortex < _UNENHANCED_BELOW_HU:
        return "unenhanced", cortex
    if np.mean(hu > _EXCRETED_HU) > _EXCRETED_SHARE:
        return "excretory", float(np.percentile(hu[hu < _EXCRETED_HU], 80))
    return ("corticomedullary" if cortex - medulla > _MEDULLA_GAP_HU else "nephrographic"), cortex


def _grain(image: Image, inner: Mask) -> tuple[float, float]:
    """Noise and its blur from neighbouring rows and columns inside the kidney.

    The difference of neighbours takes out what changes slowly. Noise of variance v and correlation r at one pixel, c at
    two, has differences of variance 2v(1 - r) and 2v(1 - c); white noise blurred by s pixels has r = exp(-1 / (4 s^2))
    and c = r^4, so the ratio of the two, (1 + r)(1 + r^2), gives r, then v and s.
    """
    near, far = (_difference_variance(image, inner, step) for step in (1, 2))
    ratio = float(np.clip(far / max(near, 1e-6), 1.0, 4.0))
    r = float(np.interp(ratio, [(1 + q) * (1 + q * q) for q in _CORRELATIONS], _CORRELATIONS))
    r = min(r, 0.9)
    return math.sqrt(near / (2 * (1 - r))), (math.sqrt(-1 / (4 * math.log(r))) if r > 0.02 else 0.0)


_CORRELATIONS = np.linspace(0, 0.95, 96)


def _difference_variance(image: Image, inner: Mask, step: int) -> float:
    """Variance of the difference between voxels `step` apart along Y and X, both inside, without structures' edges."""
    parts = []
    for axis in (1, 2):
        here, there = (
            tuple(part if a == axis else slice(None) for a in range(3))
            for part in (slice(step, None), slice(None, -step))
        )
        both = inner[here] & inner[there]
        parts.append((image[here] - image[there])[both])
    differences = np.concatenate(parts)
    if differences.size == 0:
        return 0.0
    limit = _MOST_SIGMAS * 1.4826 * float(np.median(np.abs(differences)))
    return float(np.mean(np.square(differences[np.abs(differences) <= limit])))
