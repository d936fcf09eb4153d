"""What nnU-Net v2 leaves behind: a trained model's folder, found in it, above it or in an exported zip."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kits_submit.errors import ModelError

FINAL = "checkpoint_final.pth"
_WANTED = ("plans.json", "dataset.json", "postprocessing.json")
_V1 = ("plans.pkl", "model_final_checkpoint.model", "model_best.model")


@dataclass(frozen=True)
class Trained:
    """A folder `TRAINER__PLANS__CONFIGURATION` of nnU-Net.

    - `plans`, `dataset`: its two JSON files. `folds`: their names, as in `fold_NAME`; `checkpoints`: one of each.
    - `largest`: groups of labels of which only the largest component stays, by its postprocessing.
    """

    folder: Path
    plans: dict[str, Any]
    dataset: dict[str, Any]
    folds: tuple[str, ...]
    checkpoints: tuple[Path, ...]
    largest: tuple[tuple[int, ...], ...]


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """A folder itself; of a zip what is needed of it, in a folder that goes afterwards.

    Raises:
        ModelError: neither.
    """
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise ModelError("no such folder or zip", fix="name what nnU-Net v2 trained or exported", path=source)
    with TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                for entry in archive.infolist():
                    name = Path(entry.filename).name
                    if name in (*_WANTED, *_V1) or name.endswith(".pth"):
                        archive.extract(entry, folder)  # which leaves `..` and roots out of names
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            fix = "get it again, or name the folder"
            raise ModelError(f"not a whole zip file ({error})", fix=fix, path=source) from None
        yield Path(folder)


def find_trained(
    source: Path,
    root: Path,
    configuration: str | None = None,
    folds: Sequence[str] | None = None,
    checkpoint: str = FINAL,
) -> Trained:
    """The one trained model under `root`.

    Args:
        source: what the user named, for messages.
        configuration: such as `3d_fullres`; None: the only one there.
        folds: `0`, ..., or `all`; None: each that is there.

    Raises:
        ModelError: none, several, of nnU-Net v1, a training that has not ended, or a file that cannot be read.
    """
    folder = _folder(source, root, configuration)
    plans, dataset = (_json(source, folder / name) for name in _WANTED[:2])
    names = _folds(source, folder, folds, checkpoint)
    paths = tuple(folder / f"fold_{name}" / checkpoint for name in names)
    return Trained(folder, plans, dataset, names, paths, _largest(source, folder, names))


def _folder(source: Path, root: Path, configuration: str | None) -> Path:
    plans = [path for depth in ("", "*/", "*/*/") for path in root.glob(f"{depth}plans.json")]
    found = sorted({path.parent for path in plans if not path.parent.name.startswith("crossval_")})
    if not found:
        old = [name for name in _V1 if any(root.rglob(name))]
        if old:
            fix = "train it with nnU-Net v2 (`nnUNetv2_train`): the two versions' networks and plans differ"
            raise ModelError(f"it is of nnU-Net v1 ({old[0]}, no plans.json)", fix=fix, path=source)
        fix = "name a folder TRAINER__PLANS__CONFIGURATION of nnU-Net v2, or its zip"
        raise ModelError("no plans.json in it", fix=fix, path=source)
    wanted = [path for path in found if configuration is None or path.name.split("__")[-1] == configuration]
    if configuration is not None and len(found) == 1:
        wanted = found
    if len(wanted) == 1:
        return wanted[0]
    names = ", ".join(path.name for path in wanted or found)
    what = f"it holds {len(wanted) or len(found)} trained models ({names})"
    if not wanted:
        raise ModelError(f"{what}, none of configuration {configuration}", fix="name one that is there", path=source)
    raise ModelError(what, fix="name one of these folders, or its --configuration", path=source)


def _folds(source: Path, folder: Path, asked: Sequence[str] | None, checkpoint: str) -> tuple[str, ...]:
    there = sorted(path.name.removeprefix("fold_") for path in folder.glob("fold_*") if path.is_dir())
    names = tuple(there if asked is None else asked)
    if not names:
        raise ModelError("no fold_* in it", fix="name a folder that nnU-Net v2 trained", path=source)
    for name in names:
        if name not in there:
            what = f"fold {name} is not there, but {', '.join(there) or 'none'}"
            raise ModelError(what, fix="name others by --folds", path=source)
    ended = tuple(name for name in names if (folder / f"fold_{name}" / checkpoint).is_file())
    missing = [name for name in names if name not in ended]
    if missing and (asked is not None or not ended):
        others = sorted(path.name for path in (folder / f"fold_{missing[0]}").glob("*.pth"))
        what = f"fold {missing[0]} has no {checkpoint}, but {', '.join(others) or 'no checkpoint'}"
        fix = "let the training end, or name another by --checkpoint"
        raise ModelError(f"{what}: its training has not ended", fix=fix, path=source)
    return ended


def _json(source: Path, path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise ModelError(f"{path.name} cannot be read ({reason})", fix="get it again", path=source) from None
    if not isinstance(raw, dict):
        raise ModelError(f"{path.name} is no JSON object", fix="get it again", path=source)
    return raw


def _largest(source: Path, folder: Path, folds: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """Of the folds' cross-validation; none where there is none."""
    path = folder / f"crossval_results_folds_{'_'.join(folds)}" / "postprocessing.json"
    if not path.is_file():
        return ()
    raw = _json(source, path)
    steps, given = raw.get("postprocessing_fns", []), raw.get("postprocessing_kwargs", [])
    groups: list[tuple[int, ...]] = []
    for step, arguments in zip(steps, given, strict=False):
        if step != "remove_all_but_largest_component_from_segmentation" or set(arguments) - {"labels_or_regions"}:
            fix = "leave it out by --no-postprocessing"
            raise ModelError(f"{path.name} asks for {step}, which a Recipe cannot express", fix=fix, path=source)
        groups.append(tuple(sorted(set(_flat(arguments["labels_or_regions"])))))
    return tuple(groups)


def _flat(labels: Any) -> Iterator[int]:
    for label in labels if isinstance(labels, list) else [labels]:
        if isinstance(label, list):
            yield from _flat(label)
        else:
            yield int(label)
