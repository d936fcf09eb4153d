"""One colour a class, and one a kind of error, told apart by lightness too: for pictures, pages and plots alike.

Cyan, vermilion and yellow for classes, magenta, green and white for errors: pairs that a reader with any of the common
colour deficiencies tells apart (after Okabe and Ito, and magenta against green instead of red against green).
"""

from __future__ import annotations

from kits_submit.labels import LabelSet, Role

Rgb = tuple[int, int, int]

ERRORS: dict[str, Rgb] = {"false": (240, 80, 240), "missed": (70, 230, 110), "confused": (255, 255, 255)}
ERROR_WORDS = {"false": "false", "missed": "missed", "confused": "wrong class"}

_OF_ROLE: dict[Role, Rgb] = {Role.KIDNEY: (64, 200, 255), Role.TUMOR: (255, 96, 64), Role.CYST: (250, 220, 90)}
_OTHERS: tuple[Rgb, ...] = ((0, 158, 115), (204, 121, 167), (230, 159, 0), (0, 114, 178))


def colours(labels: LabelSet) -> dict[int, Rgb]:
    """8-bit red, green, blue of each class but the background, by number."""
    chosen: dict[int, Rgb] = {}
    for number in labels.foreground:
        role = labels.roles[number]
        free = _OF_ROLE.get(role)
        chosen[number] = _OTHERS[number % len(_OTHERS)] if free is None or free in chosen.values() else free
    return chosen


def lighter(colour: Rgb) -> Rgb:
    """The colour of a label's class beside its prediction's."""
    r, g, b = (c // 2 + 128 for c in colour)
    return r, g, b
