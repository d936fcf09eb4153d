"""The peers that `inference.py` measures beside ours, as they come: MONAI and nnU-Net (`requirements.txt`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

PATCH, OVERLAP = 48, 0.5


def monai_loop(network: Any, image: np.ndarray[Any, Any]) -> Callable[[], Any]:
    import torch
    from monai.inferers.inferer import SlidingWindowInferer

    inferer = SlidingWindowInferer((PATCH,) * 3, sw_batch_size=1, overlap=OVERLAP, mode="gaussian")
    tensor = torch.from_numpy(image)[None, None]

    def loop() -> Any:
        with torch.inference_mode():
            logits: Any = inferer(tensor, network)
            return logits.softmax(1).numpy()

    return loop


def nnunet_loop(network: Any, image: np.ndarray[Any, Any]) -> Callable[[], Any]:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=1 - OVERLAP, use_gaussian=True, use_mirroring=False, perform_everything_on_device=False,
        device=torch.device("cpu"), verbose=False, allow_tqdm=False,
    )  # fmt: skip
    predictor.network = network
    predictor.configuration_manager = SimpleNamespace(patch_size=[PATCH] * 3)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=3)
    predictor.allowed_mirroring_axes, predictor.list_of_parameters = None, [network.state_dict()]
    tensor = torch.from_numpy(image)[None]
    return lambda: predictor.predict_sliding_window_return_logits(tensor).float().softmax(0).numpy()


def nnunet_path(network: Any, recipe: Any, case: Path, out: Path) -> Callable[[], Any]:
    import torch
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    probabilities = resampling | {"order": 1}
    function = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 1, "batch_dice": False,
        "patch_size": [PATCH] * 3, "median_image_size_in_voxels": [100, 512, 512], "spacing": list(recipe.spacing_mm),
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": function, "resampling_fn_seg": function, "resampling_fn_probabilities": function,
        "resampling_fn_data_kwargs": resampling, "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": probabilities,
        "architecture": {"network_class_name": "x", "arch_kwargs": {}, "_kw_requires_import": []},
    }  # fmt: skip
    low, high = recipe.clip_hu
    intensities = {"mean": recipe.mean_hu, "std": recipe.std_hu, "percentile_00_5": low, "percentile_99_5": high}
    plans = PlansManager({
        "dataset_name": "x", "plans_name": "x", "image_reader_writer": "NibabelIO", "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2], "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {"0": intensities}, "label_manager": "LabelManager",
        "experiment_planner_used": "x", "original_median_spacing_after_transp": list(recipe.spacing_mm),
        "original_median_shape_after_transp": [100, 512, 512],
    })  # fmt: skip
    labels = {"background": 0, "kidney": 1, "tumor": 2}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz", "numTraining": 1}
    predictor = nnUNetPredictor(
        tile_step_size=1 - OVERLAP, use_gaussian=True, use_mirroring=False, perform_everything_on_device=False,
        device=torch.device("cpu"), verbose=False, allow_tqdm=False,
    )  # fmt: skip
    configured = plans.get_configuration("3d_fullres")
    predictor.manual_initialization(network, plans, configured, [network.state_dict()], dataset, "nnUNetTrainer", None)

    def path() -> Any:
        image, properties = NibabelIO().read_images([str(case / "imaging.nii.gz")])
        out.mkdir(exist_ok=True)
        predictor.predict_single_npy_array(image, properties, output_file_truncated=str(out / "mask"))

    return path
