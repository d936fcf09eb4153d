"""The container's contracts: its folders, its model and its commands, as arguments of `kits-submit`.

    docker run -v IN:/input:ro -v OUT:/output IMAGE [OPTIONS]    segment, and score where labels are
    docker run -v IN:/input IMAGE [OPTIONS]                      the same, into /input/predictions
    docker run ... IMAGE predict [INPUT OUTPUT] [OPTIONS]        the same, with a name
    docker run ... IMAGE evaluate [PREDICTIONS LABELS]           score; by default /output against /input
    docker run ... IMAGE doctor|rehearse [...]                   what would run here; the judge's run

Grand Challenge's folders are found below /input like any layout. A model at /opt/ml/model comes before the baked one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kits_submit.errors import InputError, ModelError, OutputError

MODEL_VARIABLE = "KITS_MODEL"
_PASSED_ON = ("run", "phantom", "--help", "-h", "--version")


@dataclass(frozen=True)
class Mounts:
    """Where a judge mounts things; `baked_model` is in the image."""

    baked_model: Path
    input: Path = Path("/input")
    output: Path = Path("/output")
    model: Path = Path("/opt/ml/model")


def kits_submit_arguments(arguments: Sequence[str], mounts: Mounts) -> list[str]:
    """What `kits-submit` is to be called with.

    Raises:
        InputError: nothing is mounted as input.
        OutputError: nothing is mounted that predictions could go to.
    """
    command, rest = ("predict", list(arguments))
    if arguments and arguments[0] in ("predict", "evaluate", "doctor", "rehearse"):
        command, rest = arguments[0], list(arguments[1:])
    elif arguments and arguments[0] in _PASSED_ON:
        return list(arguments)
    has_folders = bool(rest) and not rest[0].startswith("-")
    if {"--help", "-h"} & set(rest):
        return ["run" if command == "predict" else command, "--help"]
    if command == "predict":
        return ["run", *([] if has_folders else _folders(mounts)), *rest]
    if command == "evaluate":
        return ["evaluate", *([] if has_folders else map(str, (_output(mounts), _input(mounts)))), *rest]
    if command == "rehearse":
        return ["rehearse", *([] if has_folders else [str(_input(mounts))]), *rest]
    return [
        "doctor",
        *([] if "--output" in rest or not mounts.output.is_dir() else ["--output", str(mounts.output)]),
        *rest,
    ]


def choose_model(mounts: Mounts) -> Path:
    """The model to run where none is asked for: the ONNX file of the mounted folder, else the one baked in.

    Raises:
        ModelError: the mounted folder has files, but not one ONNX file.
    """
    files = sorted(path for path in mounts.model.glob("*") if not path.name.startswith("."))
    models = [path for path in files if path.suffix == ".onnx"]
    if files and len(models) != 1:
        raise ModelError(
            f"it holds {len(models)} ONNX files ({', '.join(path.name for path in (models or files)[:3])})",
            fix="put one model there, or name one by --model",
            path=mounts.model,
        )
    return models[0] if models else mounts.baked_model


def set_model(mounts: Mounts) -> None:
    """Make `choose_model`'s the default of `--model`, unless the user set one in the environment.

    Raises:
        ModelError: as `choose_model`.
    """
    if not os.environ.get(MODEL_VARIABLE):
        os.environ[MODEL_VARIABLE] = str(choose_model(mounts))


def _folders(mounts: Mounts) -> list[str]:
    return [str(_input(mounts)), str(_output(mounts))]


def _input(mounts: Mounts) -> Path:
    nothing = not mounts.input.is_dir() or not (mounts.input.is_mount() or any(mounts.input.iterdir()))
    if nothing:
        raise InputError("nothing is mounted there", fix=f"add -v CASES:{mounts.input}:ro", path=mounts.input)
    return mounts.input


def _output(mounts: Mounts) -> Path:
    """The mounted output, even one that cannot be written (which is an error of its own); else beside the cases."""
    from kits_submit.console import say

    if mounts.output.is_dir():
        return mounts.output
    beside = mounts.input / "predictions"
    if os.access(mounts.input, os.W_OK) or os.access(beside, os.W_OK):
        say(f"note: nothing is mounted at {mounts.output}: predictions are in {beside}")
        return beside
    raise OutputError(
        f"nothing is mounted there, and {mounts.input} cannot be written by user {os.getuid()}",
        fix=f"add -v RESULTS:{mounts.output} (a folder that this user may write)",
        path=mounts.output,
    )
