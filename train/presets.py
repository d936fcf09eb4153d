"""The named configs: the paper's, the ablations of its Tables 2 and 3, a laptop's, and the shipped model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from kits_submit.errors import InputError
from train.config import TrainConfig

_PAPER = TrainConfig(second_patch=(44, 44, 44))

TABLE_2 = ("bigger-encoder", "bigger-aspp", "decoder-every-stage-1", "decoder-every-stage-2")
TABLE_3: Mapping[str, float] = MappingProxyType({"focal-5": 5.0, "focal-2": 2.0, "focal-0.5": 0.5, "focal-0.2": 0.2})

_DEMO = TrainConfig(
    preset="demo",
    spacing_mm=(4.0, 3.0, 3.0),
    holdout=1 / 8,
    patch=(32, 32, 32),
    batch=3,
    patients=3,
    background_above_air=True,
    centre_jitter=0.25,
    flip_axes="x",
    tversky_alpha=0.5,
    tversky_beta=0.5,
    tversky_over="patch",
    tversky_smooth=100.0,
    dropout=0.0,
    learning_rate=2e-3,
    warmup=0.03,
    schedule="cosine",
    max_epochs=100_000,
    max_steps=10_000,
    ema_decay=0.99,
    inference_patch=(48, 48, 48),
    margin=(12, 12, 12),
    validate_every=0,
    phantoms=96,
)

_PRETRAINING = replace(_DEMO, preset="pretraining", patch=(48, 48, 48), batch=2, patients=2, max_steps=2400)

_ANY_HOSPITAL = replace(
    _PRETRAINING,
    preset="any-hospital",
    holdout=0.0,
    omit_cases=("case_90004",),
    pretrain=True,
    implants=24,
    healthy=6,
    beside_phantoms=150,
    any_hospital=True,
    background_beside=0.5,
    augmentation=0.9,
    contrast=0.7,
    fat=0.35,
    focal_weight=4.0,
    focal_gamma=0.0,
    inference_patch=(56, 56, 56),
    margin=(8, 8, 8),
    learning_rate=3e-3,
    max_steps=18_000,
    keep="last",
)

_SHIPPED = replace(
    _ANY_HOSPITAL,
    preset="shipped",
    pretrain=False,
    after="any-hospital",
    beside_phantoms=120,
    any_hospital=False,
    contrast=0.35,
    fat=0.2,
    learning_rate=1e-3,
    warmup=0.06,
    max_steps=2500,
)

_KITS23 = replace(_PAPER, preset="kits23", labels="kits23")
_KITS23_REGIONS = replace(_KITS23, preset="kits23-regions", answer="regions")

_OURS: Mapping[str, TrainConfig] = MappingProxyType(
    {config.preset: config for config in (_DEMO, _PRETRAINING, _SHIPPED, _ANY_HOSPITAL, _KITS23, _KITS23_REGIONS)}
)


def preset_names() -> tuple[str, ...]:
    """In the order that messages list them."""
    return ("paper", *_OURS, *TABLE_2, *TABLE_3)


def preset(name: str) -> TrainConfig:
    """`paper`: sections 2.2 to 2.4, both stages. Table 2's and 3's names: the paper's, but for what the name says.

    `demo`: the same method in the 20 minutes that a laptop has. A coarser grid, where a 32-cube spans 128 x 96 x 96 mm
    (most of a kidney) and a volume has a twentieth of the voxels of KiTS19's median spacing; many small steps (three
    patches each; in equal time two 48-cubes a step find fewer tumors), a larger rate on a cosine, mean weights,
    mirrored patches, and no dropout, for so short a training fits too little rather than too much. False positives
    weigh as much as false negatives: with the paper's third of patches around tumors, the weights of Salehi et al.
    drown a short training's masks in false tumor. Tversky's sums run over each patch: over the batch, tumors of 10 mL,
    1 % of the tumor voxels in it, were missed even in the cases trained on; smoothed by 100 voxels, a few false ones
    weigh less in a patch without tumor. The drawn voxel lies anywhere in the patch's middle half.

    `pretraining`: what `any-hospital` starts from, on phantoms: `demo` in 48-cubes, two a step, 2,400 steps. Begun from
    `demo` itself it finds more tumors, but takes the spleen of an unenhanced scan for one.

    `any-hospital`: `pretraining` first, then, at the same size, a few real scans, their copies with implanted tumors
    and cysts, and phantoms of any hospital, augmented: contrast and fat drawn anew, background from beside kidneys. One
    case in six has no tumor: with two in five the tumor was given up. A cross-entropy eight times as heavy as the
    paper's Focal finds more kidneys. It leaves out case_90004, whose licence was not checked, and infers in 56-cubes at
    most, little more than trained in. docs/training.md has the trials that chose it.

    `shipped`: the model in models/ (models/MODEL_CARD.md): goes on from `any-hospital` at a lower rate, with phantoms
    of KiTS19's patients and contrast drawn anew in fewer patches, for tumors that differ little from their kidney.

    `kits23`, `kits23-regions`: the paper's on KiTS23's three classes, the network with four outputs or with three
    regions (kidney and mass, mass, tumor).

    Raises:
        InputError: another name.
    """
    if name not in preset_names():
        raise InputError(f"preset is {name!r}, allowed: {', '.join(preset_names())}", fix="name one of them")
    if name in _OURS:
        return _OURS[name]
    return replace(variant(_PAPER, name), preset=name)


def variant(base: TrainConfig, name: str) -> TrainConfig:
    """`base` with what an ablation's name changes; any other name changes nothing."""
    if name in TABLE_2:
        return replace(base, architecture=name)
    return replace(base, focal_weight=TABLE_3[name]) if name in TABLE_3 else base
