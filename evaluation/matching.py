"""Pair predictions with truths by case, from folders, single files or a `predictions.zip`. Reads names only."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from kits_submit.cases import find_masks, stem
from kits_submit.errors import InputError

Pair = tuple[str, Path | None, Path | None]  # case, prediction, truth

MAX_UNZIPPED_BYTES = 64 << 30


def match(predictions: Path, labels: Path) -> list[Pair]:
    """Every case of either side, sorted; None where a side lacks it.

    Raises:
        InputError: a side is missing or empty or has a case twice, both are the same, or no case is on both.
    """
    if predictions.exists() and labels.exists() and predictions.samefile(labels):
        raise InputError(
            "given twice, as predictions and as labels", fix="give two different folders", path=predictions
        )
    truths, predicted = find_masks(labels), find_masks(predictions)
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
def unzipped(source: Path) -> Iterator[Path]:
    """The folder of a `.zip`'s masks, removed afterwards; any other source is given back as it is.

    Raises:
        InputError: not a whole zip file, no mask in it, or one name twice.
    """
    if source.suffix.lower() != ".zip" or not source.is_file():
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="kits-eval-") as scratch:
        folder = Path(scratch) / source.name  # so that messages about a mask name the zip file
        folder.mkdir()
        try:
            with zipfile.ZipFile(source) as archive:
                _extract(archive, folder, source)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"not a readable zip file ({error})", fix="zip the predictions again", path=source
            ) from None
        yield folder


def _extract(archive: zipfile.ZipFile, folder: Path, source: Path) -> None:
    members = [info for info in archive.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
    masks = [(info, name) for info in members if (name := _flat_name(info.filename)) is not None]
    if not masks:
        raise InputError("no mask in the zip file", fix="expected prediction_00000.nii.gz in it", path=source)
    if sum(info.file_size for info, _ in masks) > MAX_UNZIPPED_BYTES:
        raise InputError("unpacks to more than 64 GiB", fix="it should hold label maps only", path=source)
    for info, name in masks:
        target = folder / name
        if target.exists():
            raise InputError(f"{name} is in the zip file twice", fix="keep one of the two", path=source)
        target.parent.mkdir(exist_ok=True)
        with archive.open(info) as packed, target.open("wb") as out:
            shutil.copyfileobj(packed, out)


def _flat_name(member: str) -> str | None:
    """`prediction_00000.nii.gz` for that file in any folder of the archive; case folders keep their name."""
    parts = PurePosixPath(member.replace("\\", "/")).parts
    if not parts or stem(Path(parts[-1])) is None:
        return None
    in_case_folder = len(parts) > 1 and parts[-2].startswith("case_")
    return f"{parts[-2]}/{parts[-1]}" if in_case_folder else parts[-1]


def _some(found: dict[str, Path]) -> str:
    names = sorted(found)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
