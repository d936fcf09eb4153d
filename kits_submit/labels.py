"""`LabelSet`: the classes of a network and of the masks that it makes: their names, their numbers, what each one is.

A set travels in the Recipe. What refines, draws, measures or trains asks it for roles, never for a number of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from kits_submit.types import Spacing

_MOST = 255  # masks are stored as uint8


class Role(StrEnum):
    """What a class is to KiTS: a tumor and a cyst are masses of a kidney; `other` is none of its business."""

    BACKGROUND = "background"
    KIDNEY = "kidney"
    TUMOR = "tumor"
    CYST = "cyst"
    OTHER = "other"


@dataclass(frozen=True)
class LabelSet:
    """Classes by number: number n is the value of a mask's voxels and the channel of the network's answer.

    - `names`: `background` first, each once.
    - `roles`: one a name.

    Raises:
        ValueError: a name twice, no background at 0 or one elsewhere, nothing beside it, more than 255.
    """

    names: tuple[str, ...]
    roles: tuple[Role, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not all(self.names):
            raise ValueError(f"{self.names}, allowed: names, each once")
        if not 2 <= len(self.names) <= _MOST or len(self.roles) != len(self.names):
            raise ValueError(f"{self.names}, allowed: two to {_MOST} classes with a role each")
        background = [number for number, role in enumerate(self.roles) if role is Role.BACKGROUND]
        if background != [0]:
            raise ValueError(f"{self.names}, allowed: a background, at 0 alone")

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """A set whose classes are called by their roles; any other name is `other`."""
        named = tuple(names)
        return cls(named, tuple(_role_of(name) for name in named))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def foreground(self) -> tuple[int, ...]:
        """All but the background."""
        return tuple(range(1, len(self.names)))

    @cached_property
    def kidney(self) -> tuple[int, ...]:
        """Kidney without its masses."""
        return self._of(Role.KIDNEY)

    @cached_property
    def tumor(self) -> tuple[int, ...]:
        """Tumors."""
        return self._of(Role.TUMOR)

    @cached_property
    def cyst(self) -> tuple[int, ...]:
        """Cysts."""
        return self._of(Role.CYST)

    @cached_property
    def mass(self) -> tuple[int, ...]:
        """Tumors and cysts."""
        return self._of(Role.TUMOR, Role.CYST)

    @cached_property
    def organ(self) -> tuple[int, ...]:
        """Kidneys with their masses: what KiTS calls `kidney_and_mass`."""
        return self._of(Role.KIDNEY, Role.TUMOR, Role.CYST)

    def document(self) -> list[Any]:
        """As JSON has it: names alone where they tell the roles."""
        if LabelSet.of(self.names) == self:
            return list(self.names)
        return [{"name": name, "role": str(role)} for name, role in zip(self.names, self.roles, strict=True)]

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Parse what `document` made.

        Raises:
            ValueError: anything else.
        """
        if not isinstance(document, list | tuple):
            raise ValueError(f"{document!r}, allowed: a list of names")
        if all(isinstance(entry, str) for entry in document):
            return cls.of(document)
        if not all(isinstance(entry, Mapping) and isinstance(entry.get("name"), str) for entry in document):
            raise ValueError(f"{document!r}, allowed: a list of names, or of names with roles")
        return cls(tuple(e["name"] for e in document), tuple(Role(e.get("role", Role.OTHER)) for e in document))

    def __str__(self) -> str:
        return ", ".join(f"{number} {name}" for number, name in enumerate(self.names))

    def _of(self, *roles: Role) -> tuple[int, ...]:
        return tuple(number for number, role in enumerate(self.roles) if role in roles)


def volume_ml(voxels: int, spacing_mm: Spacing) -> float:
    """Volume of a number of voxels; of a sheared grid's, `spacing_mm` is `Grid.box_mm`."""
    z, y, x = spacing_mm
    return voxels * z * y * x / 1000.0


def label_set(name: str) -> LabelSet:
    """`kits19`, `kits23`, or classes from 1 on: `kidney,tumor,cyst,liver`.

    Raises:
        ValueError: a class twice, or none.
    """
    return LABEL_SETS.get(name) or LabelSet.of((str(Role.BACKGROUND), *(part.strip() for part in name.split(","))))


def names_labels(name: str) -> bool:
    """Whether `label_set` takes it, and it has a kidney or a mass."""
    try:
        return bool(label_set(name).organ)
    except ValueError:
        return False


def _role_of(name: str) -> Role:
    return Role(name) if name in set(Role) else Role.OTHER


KITS19 = LabelSet.of(("background", "kidney", "tumor"))
KITS23 = LabelSet.of(("background", "kidney", "tumor", "cyst"))
LABEL_SETS: Mapping[str, LabelSet] = MappingProxyType({"kits19": KITS19, "kits23": KITS23})
BACKGROUND, KIDNEY, TUMOR, CYST = 0, 1, 2, 3  # in both (but the cyst), and so in every phantom and implant
