"""`Practice`: how a network's volumes are prepared and its answers put together, where that is otherwise than ours.

Each field's default is this project's own way, and what is at its default is left out of the Recipe's JSON: a model
that needs none of it is written, and runs, as before. Other frameworks' ways are data here, never a branch on who made
a model (nnU-Net v2: `adopt.plans` says which value comes from where in its `plans.json`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

INTENSITIES = ("window", "zscore", "range", "none")
_TUPLES = ("axes", "mirrored")


@dataclass(frozen=True)
class Practice:
    """- `axes`: the network's Z, Y, X as axes of the file, its slowest counted first; None: KiTS's own orientation.
    - `reoriented`: those are axes of the volume turned to S, A, R in place of the file's.
    - `nonzero`: work in the box of all voxels that are not 0; outside it is background.
    - `intensity`: `window` clips and standardises by the Recipe's numbers, `zscore` by the volume's own mean and
      deviation, `range` takes its least to 0 and its most to 1, `none` leaves values as they are.
    - `early`: standardise before resampling, not after. `outside`: the standardised value beyond a volume; None: air.
    - `order`: of the spline that resamples an image, 1 or 3. `halves_even`: sizes of a half are rounded to even.
    - `apart`: where a grid's longest voxel edge is more than so many times its shortest, source or network, that axis
      takes the nearest voxel; None: never.
    - `logits`: bring logits back to the source grid, not probabilities, and decide there.
    - `overlap`: share of a patch's edge by which whole patches overlap, blended by Gaussian weights centred on voxel
      n // 2; a volume smaller than a patch lies in its middle. None: outer voxels are discarded.
    - `mirrored`: axes; the answer is the mean over each combination of them mirrored, and none.
    - `members`: networks in the file, whose mean answer counts.
    - `largest`: classes, group by group; of each group only the largest component stays.

    Raises:
        ValueError: a value out of range.
    """

    axes: tuple[int, int, int] | None = None
    reoriented: bool = False
    nonzero: bool = False
    intensity: str = "window"
    early: bool = False
    outside: float | None = None
    order: int = 1
    halves_even: bool = False
    apart: float | None = None
    logits: bool = False
    overlap: float | None = None
    mirrored: tuple[int, ...] = ()
    members: int = 1
    largest: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        rules = {
            "axes": (self.axes is None or sorted(self.axes) == [0, 1, 2], "0, 1 and 2 in any order"),
            "intensity": (self.intensity in INTENSITIES, ", ".join(INTENSITIES)),
            "outside": (self.outside is None or math.isfinite(self.outside), "a finite number"),
            "order": (self.order in (1, 3), "1 or 3"),
            "apart": (self.apart is None or self.apart >= 1, "at least 1"),
            "overlap": (self.overlap is None or 0 <= self.overlap < 1, "at least 0 and below 1"),
            "mirrored": (list(self.mirrored) == sorted(set(self.mirrored) & {0, 1, 2}), "axes of 0, 1, 2, in order"),
            "members": (self.members >= 1, "at least 1"),
            "largest": (all(group and min(group) > 0 for group in self.largest), "groups of classes from 1 on"),
        }
        for name, (held, allowed) in rules.items():
            if not held:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed: {allowed}")

    @property
    def looks_first(self) -> bool:
        """Whether a volume must be seen whole before its first plane can be prepared."""
        return self.nonzero or self.order > 1 or self.intensity in ("zscore", "range")

    def apart_axis(self, spacing_mm: tuple[float, ...], other_mm: tuple[float, ...]) -> int | None:
        """The axis to be taken by the nearest voxel between two grids of the same axes, from the one to the other.

        That of the first, else of the second grid, that is anisotropic by `apart`; none where two edges are longest
        (nnU-Net's `determine_do_sep_z_and_axis`).
        """
        if self.apart is None:
            return None
        for edges in (spacing_mm, other_mm):
            if max(edges) / min(edges) > self.apart:
                longest = [axis for axis, edge in enumerate(edges) if max(edges) / edge == 1]
                return longest[0] if len(longest) == 1 else None
        return None

    def document(self) -> dict[str, Any]:
        """As JSON has it: what is not at its default."""
        made = asdict(self)
        return {each.name: made[each.name] for each in fields(self) if made[each.name] != each.default}

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Parse what `document` made.

        Raises:
            ValueError: anything else.
        """
        if not isinstance(document, Mapping):
            raise ValueError(f"{document!r}, allowed: an object")
        unknown = sorted(set(document) - {each.name for each in fields(cls)})
        if unknown:
            raise ValueError(f"unknown fields {unknown}")
        raw = dict(document)
        try:
            for name in _TUPLES:
                if raw.get(name) is not None:
                    raw[name] = tuple(int(axis) for axis in raw[name])
            raw["largest"] = tuple(tuple(int(number) for number in group) for group in raw.get("largest", ()))
            return cls(**raw)
        except TypeError as error:
            raise ValueError(f"{document!r} ({error})") from None
