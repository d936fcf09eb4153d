"""nnU-Net's checkpoints, which are pickles: read as weights and plain values alone."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kits_submit.errors import ModelError, first_line

_WRAPPERS = ("_orig_mod.", "module.")  # of torch.compile and of data-parallel training


@dataclass(frozen=True)
class Checkpoint:
    """- `weights`: by name. `configuration`, `trainer`: nnU-Net's. `mirrored`: axes that may be mirrored."""

    weights: Mapping[str, Tensor]
    configuration: str
    trainer: str
    mirrored: tuple[int, ...]


def load_checkpoint(path: Path, source: Path) -> Checkpoint:
    """Read one by `weights_only`, which runs no code; numpy's numbers, which nnU-Net logs, are let through.

    Args:
        source: what the user named, for messages.

    Raises:
        ModelError: truncated, no checkpoint of nnU-Net, or a pickle that asks for more.
    """
    told = f"{path.parent.name}/{path.name}"
    try:
        with torch.serialization.safe_globals(_numbers()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol, before it is refused
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error).lower() and "unsupported" not in str(error).lower():
            raise _damaged(told, error, source) from None
        what = f"{told} is a pickle that would run code ({_asked_for(error)})"
        fix = "it is not loaded: ask its author for the weights alone"
        raise ModelError(what, fix=fix, path=source) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(told, error, source) from None
    weights = raw.get("network_weights") if isinstance(raw, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        fix = "name a folder that nnU-Net v2 trained"
        raise ModelError(f"{told} is no checkpoint of nnU-Net v2 (no network_weights)", fix=fix, path=source)
    arguments = raw.get("init_args") or {}
    mirrored = raw.get("inference_allowed_mirroring_axes") or ()
    return Checkpoint(
        {_unwrapped(name): value.float() for name, value in weights.items()},
        str(arguments.get("configuration", "")),
        str(raw.get("trainer_name", "")),
        tuple(int(axis) for axis in mirrored),
    )


def _damaged(told: str, error: Exception, source: Path) -> ModelError:
    fix = "get it again: it is truncated, or no checkpoint"
    return ModelError(f"{told} cannot be read ({first_line(error)})", fix=fix, path=source)


def _numbers() -> list[Any]:
    """What numpy's scalars are pickled by; none of it runs anything."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
    return [
        scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *(type(np.dtype(kind)) for kind in kinds),
        np.ndarray, np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    ]  # fmt: skip


def _asked_for(error: Exception) -> str:
    """`os.system`, of torch's long message."""
    text = str(error)
    if "GLOBAL " in text:
        return text.partition("GLOBAL ")[2].partition(" ")[0]
    return first_line(error)[:80]


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name
