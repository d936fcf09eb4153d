"""Pair predictions with truths by case, from folders, single files or a `predictions.zip`. Reads names only."""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from kits_submit.errors import InputError, KitsError, OutputError
from kits_submit.files.cases import list_masks
from kits_submit.files.names import case_id, stem

Side: TypeAlias = Path | KitsError | None  # a mask, why there is none to be read, or None where there is none
Pair: TypeAlias = tuple[str, Side, Side]  # case, prediction, truth

MAX_UNZIPPED_BYTES = 64 << 30
_BROKEN_ENTRY = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


def match(predictions: Path, labels: Path, unusable: Mapping[str, KitsError] | None = None) -> list[Pair]:
    """Every case of either side, sorted; None where a side lacks it, an error where it has a case twice.

    Args:
        unusable: predictions that are known of but cannot be read (`unzipped`).

    Raises:
        InputError: a side is missing or empty, or no case is on both.
    """
    truths, predicted = _masks(labels, {}), _masks(predictions, unusable or {})
    if predictions.is_file() and labels.is_file():
        return [(next(iter(truths)), predictions, labels)]
    if not truths.keys() & predicted.keys():
        raise InputError(
            f"no case in common: predictions have {_some(predicted)}, labels {_some(truths)}",
            fix="name both by case number",
            path=predictions,
        )
    return [(case, predicted.get(case), truths.get(case)) for case in sorted(truths.keys() | predicted.keys())]


@contextmanager
def unzipped(source: Path) -> Iterator[tuple[Path, dict[str, KitsError]]]:
    """The folder of a `.zip`'s masks, removed afterwards, and by case the entries that cannot be unpacked.

    Any other source is given back as it is.

    Raises:
        InputError: not a zip file, or no mask in it.
        OutputError: no space to unpack it.
    """
    if source.suffix.lower() != ".zip" or not source.is_file():
        yield source, {}
        return
    with tempfile.TemporaryDirectory(prefix="kits-eval-") as scratch:
        folder = Path(scratch) / source.name  # so that messages about a mask name the zip file
        folder.mkdir()
        try:
            with zipfile.ZipFile(source) as archive:
                unusable = _extract(archive, folder, source)
        except (*_BROKEN_ENTRY, OSError) as error:
            raise _unreadable(error, source) from None
        yield folder, unusable


def _masks(source: Path, unusable: Mapping[str, KitsError]) -> dict[str, Path | KitsError]:
    """By case: its file, or why it has none that can be read."""
    files: dict[str, list[Path]] = {}
    for case, path in [] if unusable and not any(source.iterdir()) else list_masks(source):
        files.setdefault(case, []).append(path)
    found = {case: paths[0] if len(paths) == 1 else _twice(case, paths, source) for case, paths in files.items()}
    return found | dict(unusable)


def _twice(case: str, paths: Sequence[Path], source: Path) -> InputError:
    names = " and ".join(str(path.relative_to(source)) for path in paths)
    return InputError(f"{case} is there {len(paths)} times: {names}", fix="keep one of them", path=source)


def _extract(archive: zipfile.ZipFile, folder: Path, source: Path) -> dict[str, KitsError]:
    members = [info for info in archive.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
    masks = [(info, name) for info in members if (name := _flat_name(info.filename)) is not None]
    if not masks:
        raise InputError("no mask in the zip file", fix="expected prediction_00000.nii.gz in it", path=source)
    if sum(info.file_size for info, _ in masks) > MAX_UNZIPPED_BYTES:
        raise InputError("unpacks to more than 64 GiB", fix="it should hold label maps only", path=source)
    unusable: dict[str, KitsError] = {}
    for info, name in masks:
        target = folder / name
        if target.exists() or _case_of(name) in unusable:
            unusable[_case_of(name)] = InputError(
                f"{name} is in the zip file twice", fix="keep one of the two", path=source
            )
            continue
        target.parent.mkdir(exist_ok=True)
        try:
            with archive.open(info) as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out)
        except _BROKEN_ENTRY as error:
            target.unlink(missing_ok=True)
            unusable[_case_of(name)] = InputError(
                f"{info.filename} cannot be unpacked ({error})", fix="zip it again, without a password", path=source
            )
    return unusable


def _unreadable(error: Exception, source: Path) -> KitsError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"cannot be unpacked ({error.strerror})", fix="set TMPDIR to a folder with more space", path=source
        )
    return InputError(f"not a readable zip file ({error})", fix="zip the predictions again", path=source)


def _case_of(name: str) -> str:
    """Of a name as `_flat_name` gives it."""
    folder, _, file = name.rpartition("/")
    return case_id(folder or stem(Path(file)) or file)


def _flat_name(member: str) -> str | None:
    """`prediction_00000.nii.gz` for that file in any folder of the archive; case folders keep their name."""
    parts = PurePosixPath(member.replace("\\", "/")).parts
    if not parts or stem(Path(parts[-1])) is None:
        return None
    in_case_folder = len(parts) > 1 and parts[-2].startswith("case_")
    return f"{parts[-2]}/{parts[-1]}" if in_case_folder else parts[-1]


def _some(found: Mapping[str, object]) -> str:
    names = sorted(found)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
