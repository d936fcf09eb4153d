"""nnU-Net's `plans.json` and `dataset.json` -> a Recipe, and what its network is built of.

What a Recipe cannot express is refused by name. Meanings: nnU-Net 2.8.1's `DefaultPreprocessor`,
`default_resampling`, `nnUNetPredictor` and `export_prediction`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.adopt.classes import classes_of
from kits_submit.errors import ModelError
from kits_submit.practice import Practice
from kits_submit.recipe import Recipe, Refinement
from kits_submit.types import Shape

ANISOTROPY = 3.0  # nnunetv2.configuration.ANISO_THRESHOLD
OVERLAP = 0.5  # nnUNetv2_predict's tile_step_size
AS_IT_IS = Refinement(0, 0, 0, 0, 0, tumor_needs_kidney=False)
_INTENSITIES = {
    "CTNormalization": "window", "ZScoreNormalization": "zscore", "NoNormalization": "none",
    "RescaleTo01Normalization": "range",
}  # fmt: skip
_READERS = ("SimpleITKIO", "NibabelIO", "NibabelIOWithReorient")
_RESAMPLING = "resample_data_or_seg_to_shape"
_ARCHITECTURES = ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
_WIDE_HU = (-1024.0, 3071.0)  # told by `doctor` where nothing is clipped
_KNOWN = frozenset({
    "data_identifier", "preprocessor_name", "batch_size", "patch_size", "median_image_size_in_voxels", "spacing",
    "normalization_schemes", "use_mask_for_norm", "resampling_fn_data", "resampling_fn_seg",
    "resampling_fn_data_kwargs", "resampling_fn_seg_kwargs", "resampling_fn_probabilities",
    "resampling_fn_probabilities_kwargs", "architecture", "batch_dice", "inherits_from", "next_stage",
    "previous_stage", "UNet_class_name", "UNet_base_num_features", "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder", "num_pool_per_axis", "pool_op_kernel_sizes", "conv_kernel_sizes",
    "unet_max_num_features",
})  # fmt: skip
_FIX = "adopt another configuration, or export it by its own framework and a Recipe (--onnx)"


@dataclass(frozen=True)
class Plans:
    """One configuration, its inheritance resolved.

    - `architecture`: class name and keyword arguments, as `dynamic_network_architectures` takes them.
    - `strides`: of the whole network, along its Z, Y, X.
    """

    recipe: Recipe
    architecture: str
    arguments: dict[str, Any]
    strides: Shape


def plans_of(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    configuration: str,
    *,
    mirrored: Sequence[int] | None,
    members: int,
    largest: tuple[tuple[int, ...], ...] = (),
    provenance: Mapping[str, str] | None = None,
) -> Plans:
    """A Recipe and a network of one configuration.

    Args:
        mirrored: axes that the checkpoint allows to mirror.
        members: folds whose answers are averaged.

    Raises:
        ModelError: 2-D, a cascade, other input than one CT channel, or anything that a Recipe cannot express.
    """
    try:
        settings = _resolved(plans, configuration, ())
        _refuse(settings, plans, dataset, configuration)
        architecture, arguments = _architecture(settings)
        strides = _strides(arguments["strides"])
        labels, regions = classes_of(dataset)
        intensity = _INTENSITIES[settings["normalization_schemes"][0]]
        clip, mean, std = _window(plans) if intensity == "window" else (_WIDE_HU, 0.0, 1.0)
        practice = Practice(
            axes=_three(plans["transpose_forward"]), reoriented=plans["image_reader_writer"] == _READERS[2],
            nonzero=True, intensity=intensity, early=True, outside=0.0,
            order=_order(settings, "data", (1, 3)), halves_even=True, apart=_apart(settings), logits=True,
            overlap=OVERLAP, mirrored=tuple(sorted(int(axis) for axis in mirrored or ())), members=members,
            largest=largest,
        )  # fmt: skip
        z, y, x = (float(edge) for edge in settings["spacing"])
        recipe = Recipe(
            spacing_mm=(z, y, x), clip_hu=clip, mean_hu=mean, std_hu=std, patch=_three(settings["patch_size"]),
            margin=(0, 0, 0), multiple=strides, labels=labels, refinement=AS_IT_IS, regions=regions,
            practice=practice, provenance=dict(provenance or {}),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        told = (
            f"lacks {error}" if isinstance(error, KeyError) else f"has something that is not as it should be ({error})"
        )
        raise ModelError(f"plans.json {told}", fix="get it again from who trained it") from None
    return Plans(recipe, architecture, arguments, strides)


def _resolved(plans: Mapping[str, Any], name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    configurations = plans["configurations"]
    if name not in configurations:
        fix = f"name one of {', '.join(configurations)} by --configuration"
        raise ModelError(f"plans.json has no configuration {name}", fix=fix)
    own = dict(configurations[name])
    parent = own.get("inherits_from")
    if parent is None:
        return own
    if parent in (*seen, name):
        raise ModelError(f"plans.json: configuration {name} inherits from itself", fix="get it again")
    return _resolved(plans, parent, (*seen, name)) | own


def _refuse(
    settings: Mapping[str, Any], plans: Mapping[str, Any], dataset: Mapping[str, Any], configuration: str
) -> None:
    """What a Recipe cannot express, by name."""
    newer = sorted(set(settings) - _KNOWN)
    if newer:
        what = f"plans.json has {', '.join(newer)} in {configuration}, of a newer nnU-Net"
        raise ModelError(what, fix="update kits-submit")
    if settings.get("previous_stage"):
        raise ModelError(f"configuration {configuration} is the second stage of a cascade", fix=_FIX)
    if len(settings["patch_size"]) != 3:
        raise ModelError(f"configuration {configuration} is {len(settings['patch_size'])}-D, not 3-D", fix=_FIX)
    _refuse_channels(dataset)
    scheme = settings["normalization_schemes"][0]
    kinds = {
        "image_reader_writer": (plans["image_reader_writer"], _READERS),
        "preprocessor_name": (settings.get("preprocessor_name", "DefaultPreprocessor"), ("DefaultPreprocessor",)),
        "normalization_schemes": (scheme, tuple(_INTENSITIES)),
        "resampling_fn_data": (settings["resampling_fn_data"], (_RESAMPLING,)),
        "resampling_fn_probabilities": (settings["resampling_fn_probabilities"], (_RESAMPLING,)),
        "label_manager": (plans.get("label_manager", "LabelManager"), ("LabelManager",)),
    }
    for name, (got, allowed) in kinds.items():
        if got not in allowed:
            raise ModelError(f"plans.json has {name} {got}, known: {', '.join(allowed)}", fix=_FIX)
    if scheme == "ZScoreNormalization" and settings["use_mask_for_norm"][0]:
        raise ModelError("plans.json normalises inside the nonzero mask (use_mask_for_norm)", fix=_FIX)
    _order(settings, "probabilities", (1,))


def _refuse_channels(dataset: Mapping[str, Any]) -> None:
    """Raises: ModelError: other channels than one of CT."""
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    names = [str(name) for name in channels.values()] if isinstance(channels, dict) else []
    if len(names) != 1 or any(word in _MR for word in _words(names[0])):
        told = ", ".join(names) or "none"
        raise ModelError(f"dataset.json has the channels {told}; CT alone is fed here, one channel", fix=_OTHER_IMAGES)


_MR = frozenset({"mr", "mri", "t1", "t1w", "t1c", "t1gd", "t2", "t2w", "flair", "dwi", "adc", "pet", "us", "rgb"})
_OTHER_IMAGES = "adopt a network that was trained on CT"


def _words(name: str) -> list[str]:
    return "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()


def _architecture(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class name and keyword arguments; of plans before nnU-Net 2.4 put together as `ConfigurationManager` does."""
    if "architecture" in settings:
        made = settings["architecture"]
        name, arguments = str(made["network_class_name"]).rsplit(".", 1)[-1], dict(made["arch_kwargs"])
    else:
        name = str(settings["UNet_class_name"])
        depth = "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage"
        stages = len(settings["n_conv_per_stage_encoder"])
        base, most = settings["UNet_base_num_features"], settings["unet_max_num_features"]
        arguments = {
            "n_stages": stages, "features_per_stage": [min(base * 2**i, most) for i in range(stages)],
            "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": settings["conv_kernel_sizes"],
            "strides": settings["pool_op_kernel_sizes"], depth: settings["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": settings["n_conv_per_stage_decoder"], "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }  # fmt: skip
    if name not in _ARCHITECTURES:
        raise ModelError(f"plans.json has the network {name}, known: {', '.join(_ARCHITECTURES)}", fix=_FIX)
    return name, arguments


def _strides(stages: Any) -> Shape:
    along = [[stride] * 3 if isinstance(stride, int) else stride for stride in stages]
    return _three([math.prod(int(stage[axis]) for stage in along) for axis in range(3)])


def _window(plans: Mapping[str, Any]) -> tuple[tuple[float, float], float, float]:
    properties = (
        plans.get("foreground_intensity_properties_per_channel") or plans["foreground_intensity_properties_by_modality"]
    )
    seen = properties["0"]
    clip = float(seen["percentile_00_5"]), float(seen["percentile_99_5"])
    return clip, float(seen["mean"]), max(float(seen["std"]), 1e-8)


def _order(settings: Mapping[str, Any], of: str, allowed: tuple[int, ...]) -> int:
    asked = settings[f"resampling_fn_{of}_kwargs"]
    order = int(asked.get("order", 3))
    if order not in allowed or int(asked.get("order_z", 0)) != 0:
        what = f"plans.json resamples {of} by order {order}, {asked.get('order_z', 0)} across slices"
        raise ModelError(what, fix=_FIX)
    return order


def _apart(settings: Mapping[str, Any]) -> float | None:
    forced = {settings[f"resampling_fn_{of}_kwargs"].get("force_separate_z", False) for of in ("data", "probabilities")}
    if len(forced) > 1 or True in forced:
        raise ModelError("plans.json forces an axis apart (force_separate_z)", fix=_FIX)
    return ANISOTROPY if None in forced else None


def _three(numbers: Sequence[Any]) -> Shape:
    z, y, x = (int(number) for number in numbers)
    return z, y, x
