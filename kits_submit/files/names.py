"""What a file's name says: its case, its kind, what it belongs to. Looks at nothing but the name."""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path

IMAGE_NAMES = ("imaging",)
MASK_NAMES = ("segmentation", "aggregated_MAJ_seg", "prediction")
SUFFIXES = (".nii.gz", ".nii", ".mha")

_NUMBERED = re.compile(
    r"(?:(?P<kind>case|imaging|segmentation|prediction)_)?(?P<number>\d{1,9})"
    r"(?:(?P<channel>_0000)|_(?P<mask>seg|segmentation|pred|prediction))?"
)
FIRST_CHANNEL = "_0000"
_OTHER_CHANNEL = re.compile(r"(?P<base>.*\d)_(?!0000)\d{4}")
_LABEL_ENDING = re.compile(r"(?P<base>.+)[-_.](?:seg|segmentation|label|labels|mask)", re.IGNORECASE)
_KIND = re.compile(r"(?P<kind>imaging|segmentation|prediction)_.+")


def stem(path: Path) -> str | None:
    """A NIfTI or MetaImage file's name without its suffix; None for any other or a hidden file."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None or path.name.startswith("."):
        return None
    return path.name[: -len(suffix)] or None


def case_id(name: str) -> str:
    """`case_00042` for any of KiTS's names of case 42, else the name without its kind.

    >>> [case_id(n) for n in ("imaging_00042", "case_42_0000", "prediction_00042", "liver_7_0000")]
    ['case_00042', 'case_00042', 'case_00042', 'liver_7']
    """
    match = _NUMBERED.fullmatch(name)
    if match:
        return f"case_{int(match['number']):05d}"
    return name.removeprefix(f"{kind(name)}_").removesuffix(FIRST_CHANNEL) or name


def kind(name: str) -> str:
    """`imaging`, `segmentation` or `prediction`, as the name's beginning or its end says; else nothing."""
    numbered = _NUMBERED.fullmatch(name)
    if numbered and numbered["mask"]:
        return "segmentation" if numbered["mask"].startswith("seg") else "prediction"
    match = _KIND.fullmatch(name)
    return match["kind"] if match else ""


def is_case_name(name: str) -> bool:
    """Whether a folder is called as KiTS calls a case."""
    match = _NUMBERED.fullmatch(name)
    return match is not None and match["kind"] == "case"


def is_mask(name: str) -> bool:
    """Whether a file in a folder of masks may be one."""
    return name not in IMAGE_NAMES + MASK_NAMES and kind(name) != "imaging" and not name.endswith(FIRST_CHANNEL)


def belongs(name: str, names: Set[str]) -> bool:
    """Whether it is the label map, or another channel, of an image beside it."""
    label, channel = _LABEL_ENDING.fullmatch(name), _OTHER_CHANNEL.fullmatch(name)
    if label is not None and (label["base"] in names or f"{label['base']}{FIRST_CHANNEL}" in names):
        return True
    return channel is not None and f"{channel['base']}{FIRST_CHANNEL}" in names
