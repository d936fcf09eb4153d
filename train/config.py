"""`TrainConfig`: every number of a training, flat and frozen; the presets `paper` and `demo`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from kits_submit.errors import InputError
from kits_submit.types import Shape, Spacing

Schedule = Literal["plateau", "cosine"]


@dataclass(frozen=True)
class TrainConfig:
    """One training. The defaults are the paper's; what the paper leaves open is said here.

    Data (section 2.3 and 2.4):
    - `spacing_mm`: grid along Z, Y, X; None takes the dataset's median.
    - `clip_percentiles`: of the foreground HU. The paper prints 0.05 and 99.5, and says it follows nnU-Net, which uses
      0.5 and 99.5; the print is followed.
    - `max_slices`: longer cases (on the training grid) are cut along Z, all foreground kept, held-out ones too.
    - `holdout`: share of the cases kept for validation; the paper's 63 of 210.

    Patches (section 2.4):
    - `patch`: training patch. `batch` patches a step come from `patients` cases (the paper's 39 and 13 are per worker,
      and it has two). An epoch visits each case once.
    - `background_above_air`: background centres are drawn where HU lie above the window's lower end, which shows air,
      lung and fat alike: a short training has nothing to learn there. The patches around such centres hold them all.
    - `flip_axes`: axes mirrored at random, any of "zyx"; the paper names no augmentation.

    Loss (section 2.2, Table 3):
    - `tversky_alpha` weighs false positives, `tversky_beta` false negatives. The paper gives neither; 0.3 and 0.7 are
      the best of Salehi et al. (arXiv 1706.05721), which it cites.

    Network (section 2.1; its shape is `train.network.deeplab.Architecture`):
    - `dropout`: share of the paper's dropout rates (0.5, 0.5, 0.1) that is kept: 1 for the paper's, 0 for none.

    Optimisation (section 2.4):
    - `schedule`: "plateau" multiplies the rate by `plateau_factor` when the epoch's training loss has not fallen for
      `plateau_patience` epochs and ends below `min_learning_rate`; "cosine" falls to zero over the planned steps.
    - `max_steps`: ends the training early, and is what "cosine" plans with; None leaves `max_epochs` alone.
    - `ema_decay`: of the running mean over weights and BN statistics that is validated and exported; 0 takes the
      last weights. Not in the paper, where long training at a small rate does the same.

    Inference (section 2.4), into the Recipe:
    - `inference_patch`, `margin`: the network is fully convolutional, so a patch may be larger than in training, but it
      should not: its receptive field's radius is 83 voxels (`train.network.receptive`), so each voxel of a training
      patch sees the padding and the network learns to expect it there. One network at 3 x 1.5 x 1.5 mm, on three
      phantoms: mean kidney Dice 0.84 in 48-cubes, 0.78 in 48 x 64 x 64, 0.72 in 48 x 128 x 128. The margin of 8
      discards the outermost two voxels at stride 4, where padding weighs most.

    - `phantoms`: how many are drawn where no data is given.
    """

    preset: str = "paper"
    seed: int = 0
    spacing_mm: Spacing | None = None
    clip_percentiles: tuple[float, float] = (0.05, 99.5)
    max_slices: int = 200
    holdout: float = 0.3
    patch: Shape = (48, 48, 48)
    batch: int = 39
    patients: int = 13
    background_above_air: bool = False
    flip_axes: str = ""
    tversky_alpha: float = 0.3
    tversky_beta: float = 0.7
    focal_weight: float = 0.5
    focal_gamma: float = 2.0
    dropout: float = 1.0
    learning_rate: float = 1e-3
    schedule: Schedule = "plateau"
    plateau_factor: float = 0.1
    plateau_patience: int = 20
    min_learning_rate: float = 1e-8
    max_epochs: int = 300
    max_steps: int | None = None
    ema_decay: float = 0.0
    inference_patch: Shape = (48, 48, 48)
    margin: Shape = (8, 8, 8)
    phantoms: int = 48

    def __post_init__(self) -> None:
        for name, (holds, allowed) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                raise InputError(f"TrainConfig.{name} is {value}, allowed: {allowed}", fix="change the option")
        if any(2 * m >= edge for m, edge in zip(self.margin, self.inference_patch, strict=True)):
            what = f"TrainConfig.margin is {self.margin}, allowed: under half of inference_patch {self.inference_patch}"
            raise InputError(what, fix="change the option")
        if self.schedule == "cosine" and self.max_steps is None:
            raise InputError("TrainConfig.schedule is cosine without max_steps", fix="say how many steps to plan for")

    def to_json(self) -> str:
        """Every field, by name."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Inverse of `to_json`.

        Raises:
            InputError: an unknown field or a value out of range.
        """
        raw: dict[str, Any] = json.loads(text)
        unknown = sorted(raw.keys() - {f.name for f in fields(cls)})
        if unknown:
            raise InputError(f"TrainConfig has unknown fields {unknown}", fix="update kits-submit")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
        return cls(**values)


def preset(name: str) -> TrainConfig:
    """`paper`: sections 2.2 to 2.4, first stage. `demo`: the same method in the minutes that a laptop has.

    The paper's second stage, 44-cubes of the challenge's interpolated data from these weights, is another training
    that is given `init`.

    Demo: a coarser grid (a 48-cube spans 192 x 96 x 96 mm, a kidney with what lies around it), batches of 8, a cosine
    schedule, mean weights, mirrored patches, and no dropout, for so short a training fits too little rather than too
    much. False positives weigh as much as false negatives: with the paper's third of patches around tumors, the
    weights of Salehi et al. drown a short training's masks in false tumor.

    Raises:
        InputError: another name.
    """
    paper = TrainConfig()
    demo = replace(
        paper,
        preset="demo",
        spacing_mm=(4.0, 2.0, 2.0),
        holdout=1 / 12,
        batch=8,
        patients=8,
        background_above_air=True,
        flip_axes="x",
        tversky_alpha=0.5,
        tversky_beta=0.5,
        dropout=0.0,
        schedule="cosine",
        max_epochs=100_000,
        max_steps=800,
        ema_decay=0.99,
    )
    presets = {"paper": paper, "demo": demo}
    if name not in presets:
        raise InputError(f"preset is {name!r}, allowed: {', '.join(presets)}", fix="name one of them")
    return presets[name]


_Rule = tuple[Callable[[Any], bool], str]
_POSITIVE: _Rule = (lambda value: value > 0, "above 0")
_SHARE: _Rule = (lambda value: 0 <= value < 1, "at least 0 and below 1")
_AT_LEAST_0: _Rule = (lambda value: value >= 0, "at least 0")
_EDGES: _Rule = (lambda patch: all(edge >= 4 and edge % 4 == 0 for edge in patch), "three positive multiples of 4")
_RULES: dict[str, _Rule] = {
    "seed": _AT_LEAST_0,
    "clip_percentiles": (lambda pair: 0 <= pair[0] < pair[1] <= 100, "0 <= low < high <= 100"),
    "max_slices": _POSITIVE,
    "holdout": _SHARE,
    "patch": _EDGES,
    "batch": _POSITIVE,
    "patients": _POSITIVE,
    "dropout": (lambda share: 0 <= share <= 1, "at least 0 and at most 1"),
    "flip_axes": (lambda axes: set(axes) <= set("zyx"), 'letters of "zyx"'),
    "tversky_alpha": _AT_LEAST_0,
    "tversky_beta": _AT_LEAST_0,
    "focal_weight": _AT_LEAST_0,
    "focal_gamma": (
        lambda gamma: gamma == 0 or gamma >= 1,
        "0, or at least 1 (between, its slope at p = 1 is endless)",
    ),
    "learning_rate": _POSITIVE,
    "spacing_mm": (lambda mm: mm is None or (len(mm) == 3 and min(mm) > 0), "three positive numbers, or none"),
    "inference_patch": _EDGES,
    "margin": (lambda margin: all(m >= 0 for m in margin), "three numbers of at least 0"),
    "plateau_factor": (lambda factor: 0 < factor < 1, "above 0 and below 1"),
    "plateau_patience": _AT_LEAST_0,
    "min_learning_rate": _AT_LEAST_0,
    "schedule": (lambda name: name in ("plateau", "cosine"), "plateau, cosine"),
    "max_epochs": _POSITIVE,
    "max_steps": (lambda steps: steps is None or steps > 0, "above 0, or none"),
    "ema_decay": _SHARE,
    "phantoms": _POSITIVE,
}
