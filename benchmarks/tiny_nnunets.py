"""Tiny nnU-Nets as nnU-Net v2 leaves them, trained on phantoms: what `adopted.py` compares on.

nnU-Net's own preprocessing and architectures, its plans and checkpoint format; a plain loop in place of its trainer, so
that six take minutes on two cores. Needs nnunetv2 (`requirements.txt`). Each folder holds `plans.json`, `dataset.json`
and `fold_*/checkpoint_final.pth`.

    python benchmarks/tiny_nnunets.py build/nnunets --steps 60
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CASES, SEED = 4, 11
MATRIX = 160
PHANTOM_MM = (4.0, 2.4, 2.4)
LABELS = {"background": 0, "kidney": 1, "tumor": 2}
REGIONS = {"background": 0, "kidney": [1, 2], "tumor": [2]}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"spacing": [3.5, 2.6, 2.6], "patch": [32, 48, 48], "folds": 1},
    "residual": {"spacing": [3.0, 3.0, 3.0], "patch": [32, 48, 48], "folds": 1, "residual": True, "mirrored": (2,)},
    "regions": {"spacing": [3.5, 2.6, 2.6], "patch": [32, 48, 48], "folds": 1, "labels": REGIONS, "mirrored": (2,)},
    "anisotropic": {"spacing": [8.0, 2.2, 2.2], "patch": [12, 64, 64], "folds": 1, "flat": 2, "mirrored": (2,)},
    "folds": {"spacing": [3.5, 2.6, 2.6], "patch": [32, 48, 48], "folds": 2},
    "turned": {"spacing": [3.5, 2.6, 2.6], "patch": [32, 48, 48], "folds": 1, "kits": True},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    quiet_paths()
    cases = phantoms(options.out / "phantoms")
    for kind in options.kinds.split(","):
        train(options.out / kind, KINDS[kind], cases, options.steps)
    return 0


def quiet_paths() -> None:
    """nnU-Net warns on import where its three folders are not named."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, "")


def phantoms(folder: Path) -> list[Path]:
    from kits_submit.phantom import write_phantoms

    found = sorted(folder.glob("case_*"))
    return found or write_phantoms(folder, CASES, SEED, spacing_mm=PHANTOM_MM, matrix=MATRIX)


def plans_of(kind: dict[str, Any], intensity: dict[str, float]) -> dict[str, Any]:
    """`plans.json`, as nnU-Net 2.4 and later writes it."""
    function = "resample_data_or_seg_to_shape"
    kwargs = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": kind["patch"], "median_image_size_in_voxels": [100, 150, 150], "spacing": kind["spacing"],
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False], "batch_dice": True,
        "resampling_fn_data": function, "resampling_fn_seg": function, "resampling_fn_probabilities": function,
        "resampling_fn_data_kwargs": kwargs, "resampling_fn_seg_kwargs": kwargs | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": kwargs | {"order": 1},
        "architecture": architecture(kind),
    }  # fmt: skip
    forward, backward = ([2, 1, 0], [2, 1, 0]) if kind.get("kits") else ([0, 1, 2], [0, 1, 2])
    return {
        "dataset_name": "Dataset900_Phantoms", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(PHANTOM_MM), "original_median_shape_after_transp": [100, 160, 160],
        "image_reader_writer": "SimpleITKIO", "transpose_forward": forward, "transpose_backward": backward,
        "configurations": {"3d_fullres": configuration}, "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager", "foreground_intensity_properties_per_channel": {"0": intensity},
    }  # fmt: skip


def architecture(kind: dict[str, Any], features: tuple[int, ...] = (8, 16, 32, 32)) -> dict[str, Any]:
    stages = len(features)
    flat = kind.get("flat", 0)  # stages that leave the slices alone
    strides = [[1, 1, 1]] + [[1 if stage < flat else 2, 2, 2] for stage in range(1, stages)]
    kernels = [[1 if stage < flat - 1 else 3, 3, 3] for stage in range(stages)]
    residual = kind.get("residual", False)
    blocks = {"n_blocks_per_stage": [1, 2, 2, 2]} if residual else {"n_conv_per_stage": [2] * stages}
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": stages, "features_per_stage": list(features), "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": kernels, "strides": strides, **blocks, "n_conv_per_stage_decoder": [1] * (stages - 1)
            if residual else [2] * (stages - 1), "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip


def train(folder: Path, kind: dict[str, Any], cases: list[Path], steps: int) -> None:
    labels = kind.get("labels", LABELS)
    dataset: dict[str, Any] = {
        "channel_names": {"0": "CT"}, "labels": labels, "numTraining": len(cases), "file_ending": ".nii.gz",
    }  # fmt: skip
    if labels is REGIONS:
        dataset["regions_class_order"] = [1, 2]
    images = [read(case, kits=bool(kind.get("kits"))) for case in cases]
    foreground = np.concatenate([image[label > 0] for image, label, _ in images])
    low, high = np.percentile(foreground, (0.5, 99.5))
    intensity = {
        "mean": float(foreground.mean()), "std": float(foreground.std()), "median": float(np.median(foreground)),
        "min": float(foreground.min()), "max": float(foreground.max()), "percentile_00_5": float(low),
        "percentile_99_5": float(high),
    }  # fmt: skip
    plans = plans_of(kind, intensity)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans, indent=1))
    (folder / "dataset.json").write_text(json.dumps(dataset, indent=1))
    for fold in range(kind["folds"]):
        network = fit(plans, dataset, images, steps, seed=fold)
        save(
            folder / f"fold_{fold}" / "checkpoint_final.pth",
            network,
            plans,
            dataset,
            fold,
            kind.get("mirrored", (0, 1, 2)),
        )
        print(f"written: {folder / f'fold_{fold}'}", flush=True)


def read(case: Path, *, kits: bool) -> tuple[Any, Any, tuple[float, ...]]:
    """Image, label and spacing as nnU-Net's reader gives them: of a file stored x, y, z, or as KiTS stores it."""
    import nibabel

    image, label = (nibabel.load(case / name) for name in ("imaging.nii.gz", "segmentation.nii.gz"))
    voxels, classes = np.asarray(image.dataobj, np.float32), np.asarray(label.dataobj, np.uint8)
    spacing = tuple(float(mm) for mm in image.header.get_zooms()[:3])
    if kits:
        return voxels.T, classes.T, spacing[::-1]
    return voxels, classes, spacing


def fit(plans: dict[str, Any], dataset: dict[str, Any], images: list[Any], steps: int, seed: int) -> Any:
    """Cross-entropy and Dice on patches around foreground."""
    import torch
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    manager = PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    preprocessor = DefaultPreprocessor(verbose=False)
    seen = []
    for image, label, spacing in images:
        data, segmentation, _ = preprocessor.run_case_npy(
            image[None], label[None].astype(np.int16), {"spacing": spacing}, manager, configuration, dataset
        )
        seen.append((data[0], segmentation[0], np.argwhere(segmentation[0] > 0)))
    regions = [v for k, v in dataset["labels"].items() if k != "background"] if "regions_class_order" in dataset else []
    chosen = configuration.configuration["architecture"]
    network = get_network_from_plans(
        chosen["network_class_name"], chosen["arch_kwargs"], chosen["_kw_requires_import"], 1,
        len(regions) or len(dataset["labels"]), deep_supervision=False,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    patch = configuration.patch_size
    for _ in range(steps):
        batch = [cut(*seen[int(rng.integers(len(seen)))], patch, rng) for _ in range(2)]
        x = torch.from_numpy(np.stack([b[0] for b in batch])[:, None])
        y = torch.from_numpy(np.stack([b[1] for b in batch]).astype(np.int64))
        loss = loss_of(network(x), y, regions)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        schedule.step()
    print(f"loss {float(loss.detach()):.3f}", flush=True)
    return network


def loss_of(logits: Any, y: Any, regions: list[Any]) -> Any:
    import torch
    import torch.nn.functional as f

    if regions:
        target = torch.stack([torch.isin(y, torch.tensor(region)) for region in regions], 1).float()
        p, entropy = logits.sigmoid(), f.binary_cross_entropy_with_logits(logits, target)
    else:
        target = f.one_hot(y.clamp(min=0), logits.shape[1]).movedim(-1, 1).float()
        p, entropy = logits.softmax(1), f.cross_entropy(logits, y.clamp(min=0))
        p, target = p[:, 1:], target[:, 1:]
    axes = (0, 2, 3, 4)
    dice = (2 * (p * target).sum(axes) + 1) / (p.sum(axes) + target.sum(axes) + 1)
    return entropy + 1 - dice.mean()


def cut(data: Any, label: Any, foreground: Any, patch: list[int], rng: Any) -> tuple[Any, Any]:
    """A patch around a foreground voxel, or anywhere in a third of the cases; zeros beyond the volume."""
    centre = foreground[rng.integers(len(foreground))] if rng.random() < 0.67 else rng.integers(0, data.shape)
    pads = [(p, p) for p in patch]
    start = [int(c) + p - p // 2 + int(rng.integers(-p // 4, p // 4)) for c, p in zip(centre, patch, strict=True)]
    place = tuple(slice(a, a + p) for a, p in zip(start, patch, strict=True))
    return np.pad(data, pads)[place].astype(np.float32), np.pad(label, pads)[place]


def save(
    path: Path, network: Any, plans: dict[str, Any], dataset: dict[str, Any], fold: int,
    mirrored: tuple[int, ...] | None = (0, 1, 2),
) -> None:  # fmt: skip
    """A checkpoint with the fields that nnU-Net's trainer writes."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({
        "network_weights": network.state_dict(), "optimizer_state": {}, "grad_scaler_state": None,
        "logging": {"train_losses": [np.float64(0.5)]}, "_best_ema": np.float64(0.5), "current_epoch": 1000,
        "init_args": {
            "plans": plans, "configuration": "3d_fullres", "fold": fold, "dataset_json": dataset,
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer", "inference_allowed_mirroring_axes": mirrored,
    }, path)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
