"""The exported file: parity with torch, free sizes, folded BN, the Recipe inside; and the checks that hold them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.cli import checkpoint_of, export, export_command, newest_checkpoint
from export.graph import check_graph
from export.verify import ParityReport, ShapeParity, compare, demand_parity, verify
from kits_submit.engine.crop import METADATA_KEY as CROP_KEY
from kits_submit.engine.model import load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.errors import InputError, ModelError, UsageError
from kits_submit.recipe import METADATA_KEY, Recipe
from tests.conftest import ROOT
from train.fit.checkpoint import Checkpoint, save_checkpoint
from train.network.deeplab import Architecture, DeepLab3D
from train.presets import preset

RECIPE = Recipe((3.0, 1.5, 1.5), (-100.0, 300.0), 100.0, 50.0, patch=(48, 128, 128), margin=(8, 8, 8))


@dataclass(frozen=True)
class Exported:
    checkpoint: Path
    network: DeepLab3D
    model: onnx.ModelProto
    path: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network with BN statistics as after a training, exported once for the module."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = DeepLab3D()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 1.0
            nn.init.normal_(module.bias, std=0.2)
    with torch.no_grad():
        network.train()(torch.randn(2, 1, 32, 32, 32))
    network.eval()
    folder = tmp_path_factory.mktemp("run")
    state = network.state_dict()
    # `model` holds other weights than `mean`: only the mean may be exported
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    save_checkpoint(folder / "checkpoint.pt", Checkpoint(Architecture(), preset("demo"), RECIPE, 700, other, state, {}))
    export_command(folder, folder / "build" / "kits.onnx")
    path = folder / "build" / "kits.onnx"
    return Exported(folder / "checkpoint.pt", network, onnx.load(path), path)


def test_one_valid_file_under_three_megabytes(exported: Exported) -> None:
    onnx.checker.check_model(exported.path, full_check=True)
    assert exported.path.stat().st_size < 3e6
    assert sorted(p.name for p in exported.path.parent.iterdir()) == ["kits.onnx", "kits.parity.json"]


def test_the_recipe_is_inside(exported: Exported) -> None:
    entries = {entry.key: entry.value for entry in exported.model.metadata_props}
    assert set(entries) == {METADATA_KEY, CROP_KEY}
    assert Recipe.from_json(entries[METADATA_KEY]) == replace(RECIPE, provenance={"steps": "700"})


def test_a_shifted_tumor_is_a_bias_of_the_output(exported: Exported, tmp_path: Path) -> None:
    export_command(exported.path.parents[1], tmp_path / "leaning.onnx", tumor_shift=1.5)
    batch = np.random.default_rng(0).normal(size=(1, 1, 8, 8, 8)).astype(np.float32)
    plain, leaning = (
        OnnxRuntimeEngine(path.read_bytes(), "cpu").run(batch) for path in (exported.path, tmp_path / "leaning.onnx")
    )
    assert np.allclose(leaning - plain, np.array([0, 0, 1.5])[:, None, None, None], atol=1e-4)
    assert load_model(tmp_path / "leaning.onnx").recipe.provenance["tumor_shift"] == "1.5"


def test_another_patch_plan_is_the_recipe_s(exported: Exported, tmp_path: Path) -> None:
    out = tmp_path / "planned.onnx"
    export_command(exported.path.parents[1], out, patch="20,24,24", margin="4,4,0")
    recipe = load_model(out).recipe
    assert (recipe.patch, recipe.margin) == ((20, 24, 24), (4, 4, 0))
    assert recipe.provenance["patch_plan"] == "(20, 24, 24), (4, 4, 0), given at export"
    with pytest.raises(UsageError, match="multiples of 4"):
        export_command(exported.path.parents[1], out, patch="20,24,25")
    assert load_model(out).recipe == recipe


def test_the_graph(exported: Exported) -> None:
    graph = exported.model.graph
    check_graph(exported.model, classes=3)
    assert {node.op_type for node in graph.node} == {"Conv", "Relu", "Add", "Concat", "Resize", "Slice", "Pad"}
    assert sum(node.op_type == "Conv" for node in graph.node) == 50
    assert exported.model.opset_import[0].version == 18
    scales = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in graph.initializer}
    assert [scales[n.input[2]] for n in graph.node if n.op_type == "Resize"] == [[1, 1, 2, 2, 2]] * 2


def test_padding_follows_dilation_and_stride(exported: Exported) -> None:
    """Or a Pad before a convolution does it, where only part of a patch is computed."""
    padded = [node.output[0] for node in exported.model.graph.node if node.op_type == "Pad"]
    assert len(padded) == 2
    for node in exported.model.graph.node:
        if node.op_type == "Conv":
            values = {a.name: list(a.ints) for a in node.attribute}
            reach = [d * (k // 2) for d, k in zip(values["dilations"], values["kernel_shape"], strict=True)]
            assert values["pads"] == ([0] * 6 if node.input[0] in padded else reach * 2)


def test_no_trace_of_this_machine(exported: Exported) -> None:
    content = exported.path.read_bytes()
    assert str(ROOT).encode() not in content
    assert b"stack_trace" not in content
    assert b"site-packages" not in content


def test_parity_on_other_shapes(exported: Exported) -> None:
    """Sizes that the exporter never saw, unit sizes at stride 4 (ONNX Runtime issue 12091) and unequal edges."""
    shapes = ((1, 4, 4, 4), (4, 8, 4, 12), (1, 52, 20, 36), (2, 4, 4, 100))
    report = verify(exported.path.read_bytes(), exported.network, RECIPE, shapes=shapes)
    assert report.passed
    assert report.max_difference <= 1e-4
    assert [shape.sizes for shape in report.shapes] == list(shapes)


def test_the_report_is_written(exported: Exported) -> None:
    raw = json.loads(exported.path.with_suffix(".parity.json").read_text())
    assert raw["passed"] is True
    assert raw["max_difference"] <= raw["tolerance"] == 1e-4
    assert len(raw["shapes"]) >= 4


def test_another_network_fails_the_parity(exported: Exported) -> None:
    torch.manual_seed(1)
    report = verify(exported.path.read_bytes(), DeepLab3D().eval(), RECIPE, shapes=((1, 8, 8, 8),))
    assert not report.passed
    with pytest.raises(ModelError, match=r"ONNX Runtime differs from torch by .* at \(1, 8, 8, 8\)"):
        demand_parity(report)


def test_compare_by_hand() -> None:
    """Four voxels: equal; off by 0.25; another label, clear margin; another label, margin within the tolerance."""
    wanted = np.array([[1, 1, 1, 1], [0, 0, 0, 0.95]], np.float32).reshape(1, 2, 1, 1, 4)
    got = np.array([[1, 1.25, 0, 0.9], [0, 0, 1, 1]], np.float32).reshape(1, 2, 1, 1, 4)
    parity = compare(wanted, got, (1, 1, 1, 4), 0.1)
    assert parity == ShapeParity((1, 1, 1, 4), 1.0, 0.1, labels_wrong=1, labels_undecided=1)
    assert not ParityReport(0.1, "", (parity,)).passed
    assert compare(50 * wanted, 50 * wanted + np.float32(0.4), (1, 1, 1, 4), 0.1).allowed == pytest.approx(0.5)
    assert compare(wanted, got[..., :3], (1, 1, 1, 4), 0.1).max_difference == np.inf
    assert compare(wanted, got * np.float32(np.nan), (1, 1, 1, 4), 0.1).max_difference == np.inf


def test_a_graph_that_is_another_is_told(exported: Exported) -> None:
    with pytest.raises(ModelError, match=r"output axes: .*wanted .*'N', 4"):
        check_graph(exported.model, classes=4)
    for change, told in (
        (lambda m: setattr(m.graph.node[3], "op_type", "BatchNormalization"), r"other operators: \['BatchNorm"),
        (lambda m: setattr(m.opset_import[0], "version", 20), r"opsets: \{'': 20\}"),
        (lambda m: setattr(m.graph.input[1].type.tensor_type, "elem_type", 6), "crop_start: "),
        (lambda m: m.graph.node.add(op_type="Slice", input=["image", "a", "b"], output=["c"]), "Slices: "),
        (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 16), "input axes"),
    ):
        model = onnx.ModelProto()
        model.CopyFrom(exported.model)
        change(model)
        with pytest.raises(ModelError, match=told):
            check_graph(model, classes=3)


def test_a_checkpoint_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run in it"):
        newest_checkpoint(tmp_path / "runs")
    with pytest.raises(InputError, match="no checkpoint there"):
        checkpoint_of(tmp_path)
    (tmp_path / "checkpoint.pt").write_text("not one")
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        export(checkpoint_of(tmp_path), tmp_path / "k.onnx", tmp_path / "k.json")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_newest_run_is_taken(tmp_path: Path) -> None:
    import os

    for age, name in ((3, "b"), (1, "a"), (2, "c")):
        path = tmp_path / name / "checkpoint.pt"
        path.parent.mkdir()
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert newest_checkpoint(tmp_path).parent.name == "a"
