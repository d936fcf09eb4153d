"""Each case resampled once, standardised, and laid out so that a patch is read without reading the case.

    CACHE/case_00000-3f2a9c41d07e/      the suffix: content of the files + what the Recipe does to them
        image.npy        float16 ZYX, standardised (rounded by a thousandth of its value at most)
        label.npy        uint8 ZYX
        class_1.npy ..   flat indices of kidney voxels, of tumor voxels, ..; ascending
        foreground.npy   flat indices of all of them, ascending: what is not in it is background

A case is written into a folder beside and renamed, so that a folder of that name is always whole; an interrupted
training finds what is done, and `clear_unfinished` takes away what it left. Content decides, not dates: changed files
or another spacing give another name.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kits_submit.errors import InputError, OutputError
from kits_submit.files.cases import Case
from kits_submit.files.volume import Planes
from kits_submit.inference.grid import resample_nearest, resample_planes, target_shape
from kits_submit.inference.intensity import standardise
from kits_submit.labels import KITS19
from kits_submit.recipe import Recipe
from kits_submit.types import Labels, Shape
from train.pairs import content_hash, open_pair

LAYOUT = "1"  # changes with the files above
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_A_DAY_S = 86400

Indices = npt.NDArray[np.int64]
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class CachedCase:
    """One case in the cache, its arrays memory-mapped anew at each access.

    A mapping kept open holds a file descriptor: KiTS19 would need more than the usual limit of 1024.

    - `classes`: how many the labels have, background included.
    """

    case_id: str
    folder: Path
    classes: int

    @property
    def image(self) -> npt.NDArray[np.float16]:
        """Standardised HU, ZYX."""
        return self._mapped("image", np.float16)

    @property
    def label(self) -> Labels:
        """Class numbers, ZYX."""
        return self._mapped("label", np.uint8)

    @property
    def foreground(self) -> Indices:
        """Flat indices of every voxel that is not background, ascending."""
        return self._mapped("foreground", np.int64)

    @property
    def by_class(self) -> tuple[Indices, ...]:
        """Flat indices of class 1, of class 2, ..; ascending."""
        return tuple(self._mapped(f"class_{k}", np.int64) for k in range(1, self.classes))

    @property
    def shape(self) -> Shape:
        """Voxels along Z, Y, X."""
        z, y, x = self.label.shape
        return z, y, x

    def _mapped(self, name: str, dtype: type[_Scalar]) -> npt.NDArray[_Scalar]:
        path = self.folder / f"{name}.npy"
        stored, shape, offset = _header(path)
        if stored != dtype:
            raise InputError(f"{name}.npy holds {stored}", fix="delete the folder, it is made again", path=self.folder)
        count = math.prod(shape)
        if count == 0:
            return np.empty(shape, dtype)
        with path.open("rb") as stream:
            pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(pages, dtype, count, offset).reshape(shape)


@lru_cache(maxsize=1 << 14)
def _header(path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """(dtype, shape, where the data begin) of a NumPy file of version 1, which `np.save` writes for plain arrays.

    Parsed once a file: np.load spends most of a patch's time on it.
    """
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        return dtype, shape, stream.tell()


def folder_of(case: Case, recipe: Recipe, root: Path, sha256: str, *, max_slices: int, cysts_as_kidney: bool) -> Path:
    """Where a case of this content lies, or will lie."""
    return root / f"{case.case_id}-{_key(sha256, recipe, max_slices, cysts_as_kidney=cysts_as_kidney)}"


def cache_case(
    case: Case,
    recipe: Recipe,
    root: Path,
    *,
    max_slices: int,
    sha256: str | None = None,
    cysts_as_kidney: bool = False,
) -> CachedCase:
    """The case's folder under `root`, made unless it is there. `sha256`: of the case's files, where already known.

    Raises:
        InputError, VolumeError, GeometryError, LabelError: the case cannot be used.
        OutputError: the cache cannot be written.
    """
    sha256 = sha256 or content_hash(case)
    folder = folder_of(case, recipe, root, sha256, max_slices=max_slices, cysts_as_kidney=cysts_as_kidney)
    if not folder.is_dir():
        with open_pair(case, recipe.labels, cysts_as_kidney=cysts_as_kidney) as (planes, whole):
            image, label = prepare(planes, whole, recipe, max_slices=max_slices)
        write_case(folder, image, label, len(recipe.labels))
    return CachedCase(case.case_id, folder, len(recipe.labels))


def prepare(
    planes: Planes, label: Labels, recipe: Recipe, *, max_slices: int
) -> tuple[npt.NDArray[np.float16], Labels]:
    """A case's planes and labels -> standardised image and labels on the Recipe's grid, cut to `max_slices`.

    Plane by plane, as the runtime takes it (`kits_submit.inference.pipeline.prepared`): the network trains on the
    values that it will see.
    """
    shape = target_shape(planes.grid.shape, planes.grid.spacing_mm, recipe.spacing_mm)
    small = resample_nearest(label, shape)
    window = slices_to_keep(small, max_slices)
    image = np.empty(shape, np.float16)
    by_plane = np.moveaxis(image, planes.axis, 0)
    n_in, (n_out, *rest) = planes.grid.shape[planes.axis], by_plane.shape
    for i, plane in resample_planes(planes.stream, n_in, n_out, (rest[0], rest[1])):
        by_plane[i] = standardise(np.array(plane, np.float32, order="C"), recipe)
    return image[window], small[window]


def slices_to_keep(label: Labels, max_slices: int) -> slice:
    """The Z range of a case: whole up to `max_slices`, else `max_slices` around the foreground, or all of it if longer.

    250 slices, foreground in 10..29, 200 to keep: 0..199. Foreground in 200..219: 50..249.
    """
    count = label.shape[0]
    if count <= max_slices:
        return slice(0, count)
    occupied = np.flatnonzero(label.any(axis=(1, 2)))
    first, last = (int(occupied[0]), int(occupied[-1])) if occupied.size else (0, count - 1)
    if occupied.size and last - first + 1 >= max_slices:
        return slice(first, last + 1)
    start = min(max((first + last + 1 - max_slices) // 2, 0), count - max_slices)
    return slice(start, start + max_slices)


def _key(sha256: str, recipe: Recipe, max_slices: int, *, cysts_as_kidney: bool) -> str:
    parts: tuple[object, ...] = (
        LAYOUT, sha256, recipe.spacing_mm, recipe.clip_hu, recipe.mean_hu, recipe.std_hu, max_slices,
    )  # fmt: skip
    if recipe.labels != KITS19 or cysts_as_kidney:
        parts += (recipe.labels.names, cysts_as_kidney)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def write_case(folder: Path, image: npt.NDArray[np.float16], label: Labels, classes: int) -> None:
    """Write a case's files and index lists beside, and rename.

    Raises:
        OutputError: cannot be written.
    """
    arrays = {"image": image, "label": label, "foreground": np.flatnonzero(label)}
    arrays |= {f"class_{k}": np.flatnonzero(label == k) for k in range(1, classes)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.{_HOST}.{os.getpid()}.", dir=folder.parent))
        try:
            for name, array in arrays.items():
                np.save(beside / f"{name}.npy", np.ascontiguousarray(array))
            _rename(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot be written ({reason})", fix="check space and permissions", path=folder) from None


def _rename(beside: Path, folder: Path) -> None:
    """Another process, here or on a machine that shares the cache, may have been faster: its files are the same."""
    try:
        beside.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def clear_unfinished(root: Path) -> None:
    """Remove the folders beside that processes of this machine which are no more have left in `root`.

    Those of other machines that share it go after a day.
    """
    for beside in root.glob(".*-*.*.*.*"):
        _, host, pid, _ = beside.name.rsplit(".", 3)
        gone = not _is_alive(int(pid)) if host == _HOST and pid.isdigit() else _age_s(beside) > _A_DAY_S
        if gone:
            shutil.rmtree(beside, ignore_errors=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
