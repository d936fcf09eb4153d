"""`Regions`: a network that answers with overlapping structures, one sigmoid each, and how these become labels.

KiTS21 and KiTS23 score kidney with its masses, the masses, the tumors: each holds the next. A network of regions
answers with one probability for each, and a voxel takes the label of the last region, in the Recipe's order, that it
is in:

    kidney_and_mass {1, 2, 3} -> 1,  mass {2, 3} -> 3,  tumor {2} -> 2

A tumor that the network finds outside its mass contradicts itself; `strict` says who wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from kits_submit.labels import LabelSet, Role


@dataclass(frozen=True)
class Region:
    """- `labels`: the classes that form it. `label`: of its voxels that are in no later region.
    - `threshold`: of its probability, above which a voxel is in it.
    """

    name: str
    labels: tuple[int, ...]
    label: int
    threshold: float = 0.5


@dataclass(frozen=True)
class Regions:
    """Regions in the order of the network's channels, outer before inner.

    - `strict`: a voxel is in a region only where it is in those that hold it too; else the inner one's word counts.

    Raises:
        ValueError: a region without classes, a threshold that is no probability, two that cross, an inner one first,
            two that give one label.
    """

    parts: tuple[Region, ...]
    strict: bool = True

    def __post_init__(self) -> None:
        for number, part in enumerate(self.parts):
            if not part.labels or part.label not in part.labels or not 0 < part.threshold < 1:
                raise ValueError(
                    f"region {part.name}: {part}, allowed: its label among its labels, a threshold in (0, 1)"
                )
            for before in self.parts[:number]:
                both = set(part.labels) & set(before.labels)
                if both and (both != set(part.labels) or len(part.labels) == len(before.labels)):
                    what = f"regions {before.name} {before.labels} and {part.name} {part.labels} contradict each other"
                    raise ValueError(
                        f"{what}, allowed: an inner one after that which holds it, or two that share nothing"
                    )
        given = [part.label for part in self.parts]
        if not given or len(set(given)) != len(given):
            raise ValueError(f"regions give the labels {given}, allowed: at least one, each once")

    def __len__(self) -> int:
        return len(self.parts)

    @classmethod
    def of(cls, labels: LabelSet) -> Self:
        """KiTS's hierarchy over a label set; a class that is neither kidney nor mass is a region of its own.

        Raises:
            ValueError: no kidney, or two classes of one role.
        """
        roles = [role for role in labels.roles if role in (Role.KIDNEY, Role.TUMOR, Role.CYST)]
        if Role.KIDNEY not in roles or len(set(roles)) != len(roles):
            raise ValueError(f"{labels}, allowed for regions: one kidney, at most one tumor and one cyst")
        parts = [Region("kidney_and_mass", labels.organ, labels.kidney[0])]
        cysts = tuple(number for number in labels.mass if number not in labels.tumor)
        parts += [Region("mass" if labels.tumor else "cyst", labels.mass, cyst) for cyst in cysts]
        parts += [Region("tumor", (tumor,), tumor) for tumor in labels.tumor]
        others = [number for number in labels.foreground if number not in labels.organ]
        return cls((*parts, *(Region(labels.names[number], (number,), number) for number in others)))

    @cached_property
    def parents(self) -> tuple[int | None, ...]:
        """Of each region the smallest that holds it, by its place; None for an outermost one."""
        held = [set(part.labels) for part in self.parts]
        found: list[int | None] = []
        for number, labels in enumerate(held):
            holders = [k for k in range(number) if labels < held[k]]
            found.append(min(holders, key=lambda k: len(held[k])) if holders else None)
        return tuple(found)

    @property
    def tumor(self) -> tuple[int, ...]:
        """The channels of the tumor alone."""
        return tuple(number for number, part in enumerate(self.parts) if part.name == "tumor")

    def check(self, labels: LabelSet) -> None:
        """Raises: ValueError: a class that no region gives, or one that `labels` has not."""
        given = {part.label for part in self.parts}
        named = given.union(*(part.labels for part in self.parts))
        if given != set(labels.foreground) or named != given:
            raise ValueError(f"regions give {sorted(given)} of {sorted(named)}, allowed: each of {labels.foreground}")

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Parse what `document` made.

        Raises:
            ValueError: anything else.
        """
        if not isinstance(document, Mapping) or set(document) != {"parts", "strict"}:
            raise ValueError(f"{document!r}, allowed: parts and strict")
        try:
            parts = tuple(
                Region(
                    str(raw["name"]), tuple(int(n) for n in raw["labels"]), int(raw["label"]), float(raw["threshold"])
                )
                for raw in document["parts"]
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{document!r} ({error}), allowed: name, labels, label, threshold of each") from None
        return cls(parts, bool(document["strict"]))


def logit(probability: float) -> float:
    """The score whose sigmoid is `probability`: 0 for a half."""
    return math.log(probability / (1 - probability))
