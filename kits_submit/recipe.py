"""`Recipe`: what the network expects of a volume and how its output becomes a mask.

It is the one contract between training and inference: made once by `train.data.fingerprint`, carried in the checkpoint,
embedded in the ONNX file's metadata under `METADATA_KEY`. The runtime needs nothing but that file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Self

from kits_submit.errors import ModelError
from kits_submit.labels import KITS19, LabelSet
from kits_submit.practice import Practice
from kits_submit.regions import Regions
from kits_submit.types import Shape, Spacing

SCHEMA = 1
METADATA_KEY = "kits_submit.recipe"
ORIENTATION = "IPL"  # of every KiTS19 case: slices to the feet, rows to the back, columns to the left


_OF_CYSTS = ("cyst_min_ml", "cyst_in_tumor", "tumor_in_cyst")


@dataclass(frozen=True)
class Refinement:
    """Thresholds of the postprocessing (paper section 2.3), in physical units so that they hold at any spacing.

    - `opening_mm`: radius of the morphological opening of the foreground; 0 switches it off.
    - `kidney_min_ml`, `tumor_min_ml`: a predicted component below it goes to the category that touches it most.
    - `foreground_min_ml`: kidney and tumor together; a component of the two below it is no kidney and goes.
    - `hole_max_ml`: an enclosed background component up to this volume goes to the category that touches it most.
    - `tumor_needs_kidney`: drop a foreground component without a kidney voxel where another one has some
      (in each of the 210 KiTS19 cases a tumor touches a kidney).
    - `cyst_min_ml`: as `tumor_min_ml`, of cysts; None: the same.
    - `cyst_in_tumor`: the share of its surface that faces tumor from which on a cyst is a part of it; 0 never.
    - `tumor_in_cyst`: the same of a tumor that faces cyst.
    """

    opening_mm: float = 0.0
    kidney_min_ml: float = 0.5
    tumor_min_ml: float = 0.5
    foreground_min_ml: float = 20.0
    hole_max_ml: float = 5.0
    tumor_needs_kidney: bool = True
    cyst_min_ml: float | None = None
    cyst_in_tumor: float = 0.0
    tumor_in_cyst: float = 0.0

    def __post_init__(self) -> None:
        for threshold in fields(self):
            value = getattr(self, threshold.name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise _invalid(f"refinement.{threshold.name}", value, "a finite number of at least 0")

    def document(self) -> dict[str, Any]:
        """As JSON has it: what cysts need is left out where it says nothing."""
        usual = {name: type(self).__dataclass_fields__[name].default for name in _OF_CYSTS}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}


@dataclass(frozen=True)
class Recipe:
    """Geometry, intensity and refinement of one trained network.

    - `spacing_mm`: the grid that the network works on, mm along Z, Y, X.
    - `clip_hu`: HU window, inclusive; `mean_hu`, `std_hu`: of the clipped foreground, used to standardise.
    - `patch`: inference patch in voxels along Z, Y, X, each a multiple of `multiple`.
    - `margin`: outer voxels of a patch, along Z, Y, X, that are discarded (paper section 2.4).
    - `multiple`: the network's total stride, or three along Z, Y, X; any input edge must be a multiple of it.
    - `labels`: the classes of its masks. `regions`: what it answers with instead of a class each, and their rule.
    - `practice`: what is done otherwise than by this project's own models.
    - `provenance`: where it comes from (data fingerprint, config, commit); strings only, never patient text.
    """

    spacing_mm: Spacing
    clip_hu: tuple[float, float]
    mean_hu: float
    std_hu: float
    patch: Shape
    margin: Shape
    multiple: int | Shape = 4
    orientation: str = ORIENTATION
    labels: LabelSet = KITS19
    refinement: Refinement = field(default_factory=Refinement)
    regions: Regions | None = None
    practice: Practice = field(default_factory=Practice)
    provenance: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        self._check_kinds()
        if len(self.spacing_mm) != 3 or not all(math.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise _invalid("spacing_mm", self.spacing_mm, "three positive numbers (Z, Y, X)")
        if len(self.clip_hu) != 2 or not self.clip_hu[0] < self.clip_hu[1]:
            raise _invalid("clip_hu", self.clip_hu, "(low, high) with low < high")
        if not (math.isfinite(self.mean_hu) and math.isfinite(self.std_hu) and self.std_hu > 0):
            raise _invalid("mean_hu, std_hu", (self.mean_hu, self.std_hu), "finite numbers with std_hu > 0")
        if not all(isinstance(n, int) for n in (*self.strides, *self.patch, *self.margin)):
            raise _invalid("patch, margin, multiple", (self.patch, self.margin, self.multiple), "whole numbers")
        if len(self.strides) != 3 or min(self.strides) < 1 or not fits(self.patch, self.strides):
            raise _invalid("patch", self.patch, f"three positive multiples of {self.multiple}")
        if len(self.margin) != 3 or any(m < 0 or 2 * m >= p for m, p in zip(self.margin, self.patch, strict=True)):
            raise _invalid("margin", self.margin, f"three numbers, at least 0 and under half of patch {self.patch}")
        if self.orientation != ORIENTATION:
            raise _invalid("orientation", self.orientation, ORIENTATION)
        if self.regions is not None:
            try:
                self.regions.check(self.labels)
            except ValueError as error:
                raise ModelError(f"Recipe.regions: {error}", fix=_EXPORT_AGAIN) from None

    @property
    def strides(self) -> Shape:
        """`multiple` along Z, Y, X."""
        return strides_of(self.multiple)

    @property
    def outputs(self) -> int:
        """Channels of the network's answer: one a class, or one a region."""
        return len(self.labels) if self.regions is None else len(self.regions)

    def _check_kinds(self) -> None:
        for name in ("spacing_mm", "clip_hu", "mean_hu", "std_hu", "patch", "margin", "multiple"):
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, bool) or not isinstance(number, int | float):
                    raise _invalid(name, value, "numbers")
        if not (isinstance(self.provenance, Mapping) and all(isinstance(v, str) for v in self.provenance.values())):
            raise _invalid("provenance", self.provenance, "an object of texts")

    def to_json(self) -> str:
        return json.dumps(self.document(), sort_keys=True)

    def document(self) -> dict[str, Any]:
        """As JSON has it; what a network of two classes does not need is left out, so that older programs read it."""
        made = asdict(self) | {"labels": self.labels.document(), "refinement": self.refinement.document()}
        optional = {
            "regions": None if self.regions is None else self.regions.document(),
            "practice": self.practice.document() or None,
        }
        made = {name: value for name, value in made.items() if name not in optional}
        return made | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse and validate.

        Raises:
            ModelError: not JSON, another schema, an unknown or a missing field, a value out of range.
        """
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelError(f"the Recipe is not JSON ({error.msg})", fix=_EXPORT_AGAIN) from None
        except RecursionError:
            raise ModelError("the Recipe is nested too deep", fix=_EXPORT_AGAIN) from None
        if not isinstance(raw, dict):
            raise ModelError(f"the Recipe is a JSON {type(raw).__name__}, not an object", fix=_EXPORT_AGAIN)
        schema = raw.get("schema")
        if schema != SCHEMA:
            fix = "update kits-submit" if isinstance(schema, int) and schema > SCHEMA else _EXPORT_AGAIN
            raise ModelError(f"the Recipe has schema {schema!r}, this program reads {SCHEMA}", fix=fix)
        return cls._from_mapping(raw)

    @classmethod
    def _from_mapping(cls, raw: dict[str, Any]) -> Self:
        unknown = sorted(raw.keys() - {f.name for f in fields(cls)})
        if unknown:
            raise ModelError(f"the Recipe has unknown fields {unknown}", fix="update kits-submit")
        needed = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING} | {"labels"}
        missing = sorted(needed - raw.keys())
        if missing:
            raise ModelError(f"the Recipe lacks {', '.join(missing)}", fix=_EXPORT_AGAIN)
        refinement = raw.get("refinement", {})
        if not isinstance(refinement, dict) or not set(refinement) <= {f.name for f in fields(Refinement)}:
            raise _invalid("refinement", refinement, f"an object of {', '.join(f.name for f in fields(Refinement))}")
        try:
            for name in ("spacing_mm", "clip_hu", "patch", "margin"):
                raw[name] = tuple(raw[name])
            raw["labels"] = _labels(raw["labels"])
            raw["regions"] = _regions(raw.get("regions"))
            raw["practice"] = _practice(raw.get("practice", {}))
            if isinstance(raw.get("multiple"), list):
                raw["multiple"] = tuple(raw["multiple"])
            raw["refinement"] = Refinement(**refinement)
            return cls(**raw)
        except TypeError:
            raise ModelError("the Recipe has a field of the wrong type", fix=_EXPORT_AGAIN) from None


_EXPORT_AGAIN = "export the model again with this version of kits-submit"


def _labels(document: object) -> LabelSet:
    try:
        return LabelSet.from_document(document)
    except ValueError as error:
        raise ModelError(f"Recipe.labels is {error}", fix=_EXPORT_AGAIN) from None


def strides_of(multiple: int | Shape) -> Shape:
    """A total stride along Z, Y, X."""
    return (multiple,) * 3 if isinstance(multiple, int) else multiple


def fits(patch: Shape, strides: Shape) -> bool:
    """Whether a patch has three edges, each a positive multiple of the stride along it."""
    return len(patch) == 3 and all(p >= 1 and p % stride == 0 for p, stride in zip(patch, strides, strict=True))


def _practice(document: object) -> Practice:
    try:
        return Practice.from_document(document)
    except ValueError as error:
        raise ModelError(f"Recipe.practice: {error}", fix=_EXPORT_AGAIN) from None


def _regions(document: object) -> Regions | None:
    try:
        return None if document is None else Regions.from_document(document)
    except ValueError as error:
        raise ModelError(f"Recipe.regions: {error}", fix=_EXPORT_AGAIN) from None


def _invalid(name: str, got: object, allowed: str) -> ModelError:
    return ModelError(f"Recipe.{name} is {got}, allowed: {allowed}", fix=_EXPORT_AGAIN)
