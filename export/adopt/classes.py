"""nnU-Net's `labels` and `regions_class_order` -> the classes and regions of a Recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kits_submit.errors import ModelError, printable
from kits_submit.labels import LabelSet, Role
from kits_submit.regions import Region, Regions

_MEANT = {
    Role.KIDNEY: ("kidney", "kidneys"),
    Role.TUMOR: ("tumor", "tumors", "tumour", "tumours", "kidney_tumor", "kidney_tumour", "renal_tumor"),
    Role.CYST: ("cyst", "cysts", "kidney_cyst", "renal_cyst"),
}  # of KiTS19, KiTS21, KiTS23 and the neighbours' data sets
_REST_OF_MASSES = ("mass", "masses")
_FIX = "train it with labels 0, 1, 2, ... and regions that hold each other or share nothing"


def classes_of(dataset: Mapping[str, Any]) -> tuple[LabelSet, Regions | None]:
    """Classes, and regions where the network answers with those.

    Of regions a class is called by the smallest that holds it; what a mass is beside its tumor is a cyst (KiTS23).

    Raises:
        ModelError: labels that are none, that leave out a number, or regions that contradict each other.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not isinstance(labels.get("background"), int) or labels["background"] != 0:
        raise ModelError(f"dataset.json has labels {labels!r}", fix="name background 0 and the classes in it")
    named = {str(name): held for name, held in labels.items() if name not in ("background", "ignore")}
    try:
        parts = {name: _numbers(held) for name, held in named.items()}
        if any(len(numbers) > 1 for numbers in parts.values()):
            return _of_regions(parts, dataset.get("regions_class_order"))
        return _set({numbers[0]: name for name, numbers in parts.items()}), None
    except (TypeError, ValueError) as error:
        raise ModelError(f"dataset.json has labels {labels}: {error}", fix=_FIX) from None


def _numbers(held: Any) -> tuple[int, ...]:
    numbers = tuple(sorted({int(number) for number in (held if isinstance(held, list) else [held])}))
    if not numbers or numbers[0] < 1:
        raise ValueError(f"{held}, allowed: classes from 1 on")
    return numbers


def _of_regions(parts: Mapping[str, tuple[int, ...]], order: Sequence[Any] | None) -> tuple[LabelSet, Regions]:
    if not isinstance(order, list) or len(order) != len(parts):
        raise ValueError(f"regions_class_order is {order}, allowed: one number a region")
    called = {
        number: min((name for name in parts if number in parts[name]), key=lambda name: len(parts[name]))
        for number in sorted(set().union(*parts.values()))
    }
    rest = {number: "cyst" for number, name in called.items() if name.lower() in _REST_OF_MASSES}
    regions = Regions(
        tuple(Region(printable(name), parts[name], int(label)) for name, label in zip(parts, order, strict=True)),
        strict=False,
    )
    labels = _set(called | rest)
    regions.check(labels)
    return labels, regions


def _set(called: Mapping[int, str]) -> LabelSet:
    if sorted(called) != list(range(1, len(called) + 1)):
        raise ValueError(f"numbers {sorted(called)}, allowed: 1, 2, ... without a gap")
    names = [printable(called[number]) for number in sorted(called)]
    roles = [next((role for role, words in _MEANT.items() if name.lower() in words), Role.OTHER) for name in names]
    plain = [str(role) if role is not Role.OTHER else name for name, role in zip(names, roles, strict=True)]
    if len(set(plain)) == len(plain):
        names = plain
    return LabelSet(("background", *names), (Role.BACKGROUND, *roles))
