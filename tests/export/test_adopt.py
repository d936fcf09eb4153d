"""nnU-Net's folders adopted: the same answers as torch and a naive pipeline; what cannot be adopted is told by name."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from benchmarks.tiny_nnunets import LABELS, architecture, plans_of, save
from export.adopt.classes import classes_of
from export.adopt.cli import Adopted, adopt_nnunet, adopt_onnx
from export.adopt.network import network_of, network_of_factory
from export.adopt.plans import plans_of as recipe_of
from kits_submit.cli import main
from kits_submit.engine.model import Model, load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.engine.openvino import OpenVinoEngine
from kits_submit.errors import InputError, ModelError
from kits_submit.labels import KITS23
from tests.inference.test_practice import naive_cubic

SPACING, PATCH, FEATURES = [2.0, 1.5, 1.5], [8, 16, 16], (4, 6)
INTENSITY = {"mean": 20.0, "std": 60.0, "percentile_00_5": -100.0, "percentile_99_5": 180.0}
DATASET = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 1, "file_ending": ".nii.gz"}


def tiny_plans(kind: dict[str, Any] | None = None, transpose: tuple[int, ...] = (1, 0, 2)) -> dict[str, Any]:
    made = plans_of({"spacing": SPACING, "patch": PATCH} | (kind or {}), INTENSITY)
    made["configurations"]["3d_fullres"]["architecture"] = architecture(kind or {}, FEATURES)
    return made | {"transpose_forward": list(transpose), "transpose_backward": list(np.argsort(transpose).tolist())}


def random_network(plans: dict[str, Any], seed: int, outputs: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    described = recipe_of(plans, DATASET, "3d_fullres", mirrored=None, members=1)
    network = network_of(described, fresh(described, outputs).state_dict(), "new", Path("new"))
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.5)
    return network


def fresh(described: Any, outputs: int) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

    kind = {"PlainConvUNet": PlainConvUNet, "ResidualEncoderUNet": ResidualEncoderUNet}[described.architecture]
    parts = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    return kind(input_channels=1, num_classes=outputs, **described.arguments | parts | {"deep_supervision": True})


def write(folder: Path, plans: dict[str, Any], dataset: dict[str, Any], networks: list[nn.Module]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for fold, network in enumerate(networks):
        save(folder / f"fold_{fold}" / "checkpoint_final.pth", network, plans, dataset, fold, (0, 2))
    return folder


@pytest.fixture(scope="module")
def networks() -> list[nn.Module]:
    torch.set_num_threads(1)
    return [random_network(tiny_plans(), seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, networks: list[nn.Module]) -> Path:
    return write(tmp_path_factory.mktemp("nnunet") / "T__P__3d_fullres", tiny_plans(), DATASET, networks)


@pytest.fixture(scope="module")
def adopted(trained: Path) -> Adopted:
    return adopt_nnunet(trained)


@pytest.fixture(scope="module")
def model(adopted: Adopted, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model") / "two.onnx"
    path.write_bytes(adopted.content)
    return load_model(path)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_the_recipe_holds_what_the_plans_say(model: Model):
    recipe = model.recipe
    assert recipe.spacing_mm == (2.0, 1.5, 1.5)
    assert (recipe.clip_hu, recipe.mean_hu, recipe.std_hu) == ((-100.0, 180.0), 20.0, 60.0)
    assert (recipe.patch, recipe.strides) == ((8, 16, 16), (2, 2, 2))
    practice = recipe.practice
    assert (practice.axes, practice.mirrored, practice.members) == ((1, 0, 2), (0, 2), 2)
    assert (practice.order, practice.apart, practice.overlap) == (3, 3.0, 0.5)
    assert recipe.provenance["folds"] == "0,1"


def test_members_answer_as_torch_does_on_both_engines_and_the_first_alone_on_request(model, networks):
    image = np.random.default_rng(0).normal(size=(2, 1, 8, 12, 20)).astype(np.float32)
    with torch.inference_mode():
        each = [network(torch.from_numpy(image)).numpy() for network in networks]
    for engine in (OnnxRuntimeEngine(model.content, "cpu"), OpenVinoEngine(model.content)):
        assert np.abs(engine.run(image) - (each[0] + each[1]) / 2).max() < 1e-4
    for one in (
        OnnxRuntimeEngine(model.content, "cpu", one_member=True),
        OpenVinoEngine(model.content, one_member=True),
    ):
        assert np.abs(one.run(image) - each[0]).max() < 1e-4


def naive(stored: np.ndarray, spacing: tuple[float, ...], networks: list[nn.Module]) -> np.ndarray:
    """nnU-Net's way from a file's array (slowest axis first) to labels, whole volumes in float64."""
    order = (1, 0, 2)
    data, spacing = stored.transpose(order), tuple(spacing[axis] for axis in order)
    found = np.argwhere(data)
    box = tuple(slice(a, b + 1) for a, b in zip(found.min(0), found.max(0), strict=True))
    part = (np.clip(data[box], -100, 180) - 20) / 60
    shape = tuple(round(s / t * n) for n, s, t in zip(part.shape, spacing, SPACING, strict=True))
    seen = naive_cubic(part.astype(np.float32), shape, None)
    logits = sliding(seen, networks)
    for axis, n in enumerate(part.shape):
        factors = [1.0] * 4
        factors[1 + axis] = n / logits.shape[1 + axis]
        logits = ndimage.zoom(logits, factors, order=1, mode="nearest", grid_mode=True)
    labels = np.zeros(data.shape, np.uint8)
    labels[box] = logits.argmax(0)
    return labels.transpose(np.argsort(order))


def sliding(image: np.ndarray, networks: list[nn.Module]) -> np.ndarray:
    pads = [(max(0, p - n) // 2, max(0, p - n) - max(0, p - n) // 2) for p, n in zip(PATCH, image.shape, strict=True)]
    padded = np.pad(image, pads).astype(np.float32)
    starts = []
    for n, p in zip(padded.shape, PATCH, strict=True):
        count = int(np.ceil((n - p) / (p / 2))) + 1
        starts.append([round((n - p) / max(1, count - 1) * i) for i in range(count)])
    delta = np.zeros(PATCH)
    delta[tuple(p // 2 for p in PATCH)] = 1
    weights = ndimage.gaussian_filter(delta, [p / 8 for p in PATCH], mode="constant")
    sums, total = np.zeros((3, *padded.shape)), np.zeros(padded.shape)
    for place in itertools.product(*starts):
        at = tuple(slice(a, a + p) for a, p in zip(place, PATCH, strict=True))
        batch = torch.from_numpy(padded[at][None, None].copy())
        with torch.inference_mode():
            turned = [
                torch.flip(network(torch.flip(batch, axes)), axes)
                for network in networks for axes in ((), (2,), (4,), (2, 4))
            ]  # fmt: skip
        sums[(slice(None), *at)] += torch.stack(turned).mean(0)[0].numpy() * weights
        total[at] += weights
    inner = tuple(slice(low, low + n) for (low, _), n in zip(pads, image.shape, strict=True))
    return (sums / total)[(slice(None), *inner)]


def test_a_file_is_segmented_as_nnunet_would(model, networks, tmp_path, capsys):
    """Axes turned and flipped in the file, zeros around the body, edges longer than a patch and shorter."""
    noise = np.random.default_rng(0).normal(0, 80, (34, 21, 9))
    body = ndimage.gaussian_filter(noise, 1.0).astype(np.float32) * 4 + 30
    stored = np.zeros((37, 24, 11), np.float32)
    stored[2:36, 1:22, 1:10] = np.rint(body)
    affine = np.array([[0, -1.4, 0, 5], [1.1, 0, 0, 7], [0, 0, 2.6, 9], [0, 0, 0, 1.0]])
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / "in" / "scan_0000.nii.gz")
    arguments = ["run", str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(model.path), "--names", "source"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--device", "cpu", "--quiet"])
    assert ended.value.code == 0, capsys.readouterr().err
    ours = np.asarray(nib.load(tmp_path / "out" / "scan.nii.gz").dataobj)
    expected = naive(stored.T, (2.6, 1.4, 1.1), networks).T
    assert (expected > 0).mean() > 0.1
    assert np.mean(ours == expected) > 0.9995
    document = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (document["precision"], document["fast"]) == ("fp32", False)
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--device", "cpu", "--quiet", "--fast"])
    assert ended.value.code == 0
    document = json.loads((tmp_path / "out" / "run.json").read_text())
    assert document["fast"]
    assert "kept" not in document["cases"][0]  # another way of computing is another key
    assert "mirrored" not in document["model"]["recipe"]["practice"]


def test_a_zip_is_as_good_as_its_folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in trained.rglob("*.*"):
            made.write(path, Path("Dataset900", trained.name) / path.relative_to(trained))
    monkeypatch.setattr("export.adopt.cli._exported", lambda members, recipe, told: (len(members), recipe))
    members, recipe = adopt_nnunet(archive, ("1",))  # type: ignore[misc]
    assert (members, recipe.provenance["folds"]) == (1, "1")


def edited(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        raw = json.loads((folder / name).read_text())
        change(raw)
        (folder / name).write_text(json.dumps(raw))

    return edit


def configured(**changes: Any) -> Callable[[Path], None]:
    return edited("plans.json", lambda raw: raw["configurations"]["3d_fullres"].update(changes))


def channels(*names: str) -> Callable[[Path], None]:
    return edited("dataset.json", lambda raw: raw.update(channel_names=dict(enumerate(names))))


def of_version_1(folder: Path) -> None:
    (folder / "plans.json").unlink()
    (folder / "plans.pkl").write_bytes(b"")


def unfinished(folder: Path) -> None:
    for fold in folder.glob("fold_*"):
        (fold / "checkpoint_final.pth").rename(fold / "checkpoint_best.pth")


def of_two_trainers(folder: Path) -> None:
    for trainer in ("A", "B"):
        shutil.copytree(folder, folder.parent / "both" / f"{trainer}__P__3d_fullres")
    shutil.rmtree(folder)
    (folder.parent / "both").rename(folder)


def with_another_trainer_s_fold(folder: Path) -> None:
    path = folder / "fold_1" / "checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | {"trainer_name": "Other"}, path)


def truncated(folder: Path) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[:4000])


def of_another_architecture(folder: Path) -> None:
    edited("plans.json", lambda raw: raw["configurations"]["3d_fullres"].update(
        architecture=architecture({}, (4, 8))))(folder)  # fmt: skip


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


def with_code(folder: Path) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | {"logging": Evil()}, path)


def bare_pickle_with_code(folder: Path) -> None:
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(pickle.dumps(Evil()))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder of nnU-Net v1": (of_version_1, "of nnU-Net v1 (plans.pkl, no plans.json); train it with nnU-Net v2"),
    "an unfinished training": (
        unfinished,
        "fold 0 has no checkpoint_final.pth, but checkpoint_best.pth: its training has not ended",
    ),
    "two trained models": (of_two_trainers, "it holds 2 trained models (A__P__3d_fullres, B__P__3d_fullres)"),
    "folds of two trainers": (
        with_another_trainer_s_fold,
        "its folds are of two trainers, Other/3d_fullres and nnUNetTrainer/3d_fullres",
    ),
    "plans of a newer nnU-Net": (configured(new_field=1), "plans.json has new_field in 3d_fullres, of a newer nnU-Net"),
    "a truncated checkpoint": (truncated, "fold_0/checkpoint_final.pth cannot be read"),
    "a checkpoint of another architecture": (
        of_another_architecture,
        "fold_0/checkpoint_final.pth is of another network than plans.json describes",
    ),
    "two channels": (channels("CT", "PET"), "dataset.json has the channels CT, PET; CT alone is fed here, one channel"),
    "MR": (channels("T1 MRI"), "dataset.json has the channels T1 MRI; CT alone is fed here, one channel"),
    "a checkpoint with code in it": (with_code, "fold_0/checkpoint_final.pth is a pickle that would run code ("),
    "a bare pickle with code in it": (bare_pickle_with_code, "fold_0/checkpoint_final.pth"),
    "a 2-D configuration": (configured(patch_size=[16, 16]), "configuration 3d_fullres is 2-D, not 3-D"),
    "a cascade": (configured(previous_stage="3d_lowres"), "configuration 3d_fullres is the second stage of a cascade"),
    "colours": (
        configured(normalization_schemes=["RGBTo01Normalization"]),
        "plans.json has normalization_schemes RGBTo01Normalization",
    ),
    "torch resampling": (
        configured(resampling_fn_data="resample_torch_fornnunet"),
        "plans.json has resampling_fn_data resample_torch_fornnunet",
    ),
    "plans without an axis order": (
        edited("plans.json", lambda raw: raw.pop("transpose_forward")),
        "plans.json lacks 'transpose_forward'",
    ),
    "a damaged dataset.json": (
        lambda folder: (folder / "dataset.json").write_text("{"),
        "dataset.json cannot be read (not JSON)",
    ),
    "nothing": (shutil.rmtree, "no such folder or zip"),
}


@pytest.mark.parametrize(("spoil", "told"), BAD.values(), ids=BAD)
def test_what_cannot_be_adopted_is_told_by_name_with_code_7(copy: Path, spoil, told, capsys):
    spoil(copy)
    with pytest.raises(ModelError, match=re.escape(told)) as failed:
        adopt_nnunet(copy)
    assert failed.value.exit_code == 7
    assert failed.value.path == copy
    assert "\n" not in str(failed.value)
    assert "code ran" not in capsys.readouterr().out


def test_kits23_s_regions_are_its_classes():
    dataset = {"labels": {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}}
    labels, regions = classes_of(dataset | {"regions_class_order": [1, 3, 2]})
    assert labels == KITS23
    assert regions is not None
    assert not regions.strict
    with pytest.raises(ModelError, match="contradict each other"):
        classes_of({"labels": {"background": 0, "a": [1, 2], "b": [2, 3], "c": 3}, "regions_class_order": [1, 2, 3]})


def test_labels_of_other_organs_are_taken_by_their_names():
    labels, _ = classes_of({"labels": {"background": 0, "Liver": 1, "kidneys": 2, "ignore": 3}})
    assert labels.names == ("background", "Liver", "kidney")
    assert labels.kidney == (2,)
    with pytest.raises(ModelError, match="without a gap"):
        classes_of({"labels": {"background": 0, "kidney": 2}})


def test_old_plans_and_residual_networks_are_built():
    settings = {
        "UNet_class_name": "ResidualEncoderUNet", "UNet_base_num_features": 4, "unet_max_num_features": 6,
        "n_conv_per_stage_encoder": [1, 1], "n_conv_per_stage_decoder": [1], "num_pool_per_axis": [1, 1, 1],
        "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2]], "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3]],
    }  # fmt: skip
    plans = tiny_plans()
    del plans["configurations"]["3d_fullres"]["architecture"]
    plans["configurations"]["3d_fullres"].update(settings)
    described = recipe_of(plans, DATASET, "3d_fullres", mirrored=None, members=1)
    assert described.strides == (1, 2, 2)
    network = network_of(described, fresh(described, 3).state_dict(), "new", Path("new"))
    assert network(torch.zeros(1, 1, 3, 8, 8)).shape == (1, 3, 3, 8, 8)


def test_nnunet_s_postprocessing_is_taken_where_it_is_of_these_folds(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("export.adopt.cli._exported", lambda members, recipe, told: recipe.practice.largest)
    results = copy / "crossval_results_folds_0_1"
    results.mkdir()
    step = "remove_all_but_largest_component_from_segmentation"
    said = {"postprocessing_fns": [step, step], "postprocessing_kwargs": [
        {"labels_or_regions": [1, 2]}, {"labels_or_regions": [[1, 2]]}]}  # fmt: skip
    (results / "postprocessing.json").write_text(json.dumps(said))
    assert adopt_nnunet(copy) == ((1, 2), (1, 2))
    assert adopt_nnunet(copy, postprocessing=False) == ()
    assert adopt_nnunet(copy, ("0",)) == ()


def test_an_onnx_file_takes_a_recipe(model: Model, tmp_path: Path):
    recipe = replace(model.recipe, spacing_mm=(3.0, 1.0, 1.0))
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    made = tmp_path / "made.onnx"
    made.write_bytes(adopt_onnx(model.path, tmp_path / "recipe.json").content)
    assert load_model(made).recipe == recipe
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(ModelError, match="schema None"):
        adopt_onnx(model.path, tmp_path / "recipe.json")


def test_a_factory_makes_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef made():\n    return nn.Conv3d(1, 3, 1)\nnothing = int\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(network_of_factory("mine:made"), nn.Conv3d)
    with pytest.raises(InputError, match="returns int, not a torch module"):
        network_of_factory("mine:nothing")
    for name in ("mine", "mine:absent", "absent_module:made"):
        with pytest.raises(InputError, match=r"mine|absent"):
            network_of_factory(name)
