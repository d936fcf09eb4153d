"""What a segment or a region of interest is to KiTS, by its code or by its name; and how we code ours.

| role   | written as (SNOMED CT, PS3.16 CID 7150, 7151)     | read from besides                                     |
|--------|---------------------------------------------------|-------------------------------------------------------|
| kidney | 64033007 Kidney                                   | names with kidney, ren, niere                         |
| tumor  | 108369006 Neoplasm, in region 64033007 Kidney     | 126880001 Neoplasm of kidney, 4147007 Mass,           |
|        |                                                   | 702391001 Renal cell carcinoma; names with tumor, ... |
| cyst   | 367643001 Cyst, in region 64033007 Kidney         | names with cyst, zyste                                |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kits_submit.labels import KITS23, LabelSet, Role

Coded = tuple[str, str]  # SNOMED CT's number, and its meaning

KIDNEY: Coded = ("64033007", "Kidney")
STRUCTURE: Coded = ("91723000", "Anatomical Structure")
ALTERED: Coded = ("49755003", "Morphologically Abnormal Structure")
TYPES: dict[Role, Coded] = {
    Role.KIDNEY: KIDNEY,
    Role.TUMOR: ("108369006", "Neoplasm"),
    Role.CYST: ("367643001", "Cyst"),
    Role.OTHER: ("85756007", "Tissue"),
}
_READ = {
    "64033007": Role.KIDNEY, "108369006": Role.TUMOR, "126880001": Role.TUMOR, "4147007": Role.TUMOR,
    "702391001": Role.TUMOR, "367643001": Role.CYST,
}  # fmt: skip
_NAMES = (
    (Role.CYST, r"cyst|zyste"),
    (Role.TUMOR, r"tumou?r|neoplasm|lesion|mass\b|carcinoma|\brcc\b|cancer"),
    (Role.KIDNEY, r"kidney|\bren\b|\brenal\b|niere"),
)


@dataclass(frozen=True)
class Maker:
    """What made a mask: its classes, and the sha256 of the model."""

    labels: LabelSet = KITS23
    model: str = ""


def role_of(code: str, name: str) -> Role | None:
    """By its code where that is known, else by its name; None for what is none of KiTS's business.

    >>> role_of("", "Left Kidney"), role_of("", "renal mass"), role_of("10200004", "Liver")
    (<Role.KIDNEY: 'kidney'>, <Role.TUMOR: 'tumor'>, None)
    """
    if code in _READ:
        return _READ[code]
    if code and code not in (TYPES[Role.OTHER][0], "49755003"):
        return None
    return next((role for role, pattern in _NAMES if re.search(pattern, name.lower().replace("_", " "))), None)


def number_of(role: Role) -> int:
    """KiTS's number of a class: 1 kidney, 2 tumor, 3 cyst."""
    return KITS23.roles.index(role)
