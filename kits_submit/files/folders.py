"""What stands in a folder by its names, and which folder below it is the one that is meant."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kits_submit.errors import InputError
from kits_submit.files.names import IMAGE_NAMES, MASK_NAMES, SUFFIXES, is_case_name, kind, stem

GRAND_CHALLENGE_IMAGES = Path("images", "ct")  # below /input, and below /output where the masks go
GRAND_CHALLENGE_MASKS = Path("images", "kidney-tumor-and-cyst")

_INNER_FOLDERS = (Path("data"), Path("dataset"), Path("imagesTr"), Path("imagesTs"))


def enter(source: Path, challenge: Path = GRAND_CHALLENGE_IMAGES) -> Path:
    """The folder that holds the cases: `source`, or the one in it that a repository or a challenge keeps them in.

    Args:
        challenge: Grand Challenge's folder of what is looked for.

    Raises:
        InputError: no such folder, or it cannot be listed.
    """
    if not source.is_dir():
        raise InputError("no such file or folder", fix="check the path, and in a container the mount", path=source)
    entries = listing(source)
    if any(is_dir(entry) and is_case_folder(entry) for entry in entries):
        return source
    names = [name for _, name in volumes_in(entries)]
    inner = [source / name for name in _INNER_FOLDERS if is_dir(source / name)]
    if is_dir(source / challenge.parts[0]) and not inner:
        inner = _challenge_folders(source, challenge)
    if files_named(source, IMAGE_NAMES) or any(kind(name) != "prediction" for name in names) or (names and not inner):
        return source
    return inner[0] if inner else source


def _challenge_folders(source: Path, wanted: Path) -> list[Path]:
    """`images/ct` or what else is wanted, or the only folder beside it.

    Raises:
        InputError: several, and none of them is the one wanted.
    """
    images = source / wanted.parts[0]
    folders = [entry for entry in listing(images) if is_dir(entry)]
    if source / wanted in folders:
        return [source / wanted]
    if len(folders) > 1:
        named = ", ".join(entry.name for entry in folders[:5])
        raise InputError(f"it holds several folders ({named})", fix=f"give one, or {wanted}", path=images)
    return folders


def is_grand_challenge(folder: Path) -> bool:
    """`images/ct`, or another folder under `images` of the container's input."""
    return folder.absolute().parts[-2:-1] == GRAND_CHALLENGE_IMAGES.parts[:1]


def all_but(output: Path | None, entries: list[Path]) -> list[Path]:
    """Those that are not `output`, by whatever name."""
    there = None if output is None else identity(output)
    return entries if there is None else [entry for entry in entries if identity(entry) != there]


def identity(path: Path) -> tuple[int, int] | None:
    """What a file or folder is by whatever name: device and number; None where it cannot be asked."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_case_folder(folder: Path, inside: frozenset[str] | None = None) -> bool:
    """By its own name, or by those in it."""
    return is_case_name(folder.name) or bool(files_named(folder, IMAGE_NAMES + MASK_NAMES, inside))


def names_in(folder: Path) -> frozenset[str] | None:
    """Names in a folder; None where it may be entered but not listed."""
    try:
        return frozenset(entry.name for entry in os.scandir(folder))
    except OSError:
        return None


def files_named(folder: Path, names: Iterable[str], inside: frozenset[str] | None = None) -> list[Path]:
    """The files of these names, at most one a name: `.nii.gz` before `.nii`.

    Args:
        inside: all names in the folder; None where they are not known.
    """
    found = []
    for name in names:
        spelled = [f"{name}{ending}" for suffix in SUFFIXES for ending in (suffix, suffix.upper())]
        spelled = [file for file in spelled if inside is None or file in inside]
        found += [path for file in spelled if _is_file(path := folder / file)][:1]
    return found[:1] if names is MASK_NAMES else found


def volumes_in(entries: list[Path]) -> list[tuple[Path, str]]:
    """Files with a NIfTI name, links to nowhere and unreadable ones included: each is a case that fails aloud."""
    named = [(path, stem(path)) for path in entries]
    return [(path, name) for path, name in named if name is not None and name not in IMAGE_NAMES and not is_dir(path)]


def listing(folder: Path) -> list[Path]:
    """What a folder holds and does not hide."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot be listed ({error.strerror})", fix="make it readable", path=folder) from None


def is_dir(path: Path) -> bool:
    """False too where the system will not say."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
