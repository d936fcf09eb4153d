"""Part of a patch asked for: the whole patch's answer, of no more than is kept and its halo."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.crop import add_crop, crop_of
from export.onnx import network_to_onnx
from export.verify import verify
from kits_submit.checks.parity import check_parity
from kits_submit.engine.crop import METADATA_KEY, PADS, START, STOP, Cells, Crop, part_of
from kits_submit.engine.model import Model, load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.engine.openvino import OpenVinoEngine
from kits_submit.engine.protocol import Engine, OutOfMemory
from kits_submit.errors import DeviceError, ModelError
from kits_submit.inference.answers import part_alone
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.stitch import stitch
from kits_submit.types import Batch, Logits
from tests.conftest import recipe
from train.network.deeplab import DeepLab3D
from train.network.variants import architecture_of

CROP = Crop(stride=2, halo=1)
Bounds = tuple[int, int]


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest, model: Model) -> Engine:
    """Of the shipped model."""
    if request.param == "openvino":
        return OpenVinoEngine(model.content)
    return OnnxRuntimeEngine(model.content, "cpu")


def noise(*shape: int) -> Batch:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


class TestCells:
    def test_by_hand(self) -> None:
        """A 48-cube keeps 12..36: cells 6..18, and one more on each side; a face has nothing beyond it."""
        size, grid = (48, 48, 48), (24, 24, 24)
        assert CROP.cells((12, 0, 13), (36, 36, 48), size) == Cells((5, 0, 5), (19, 19, 24), grid)
        assert CROP.voxels(Cells((5, 0, 5), (19, 19, 24), grid)) == ((10, 0, 10), (28, 38, 38))
        assert CROP.cells((1, 2, 40), (47, 3, 41), size) == Cells((0, 0, 19), (24, 3, 22), grid)

    def test_each_convolution_gets_a_cell_around_what_follows_needs(self) -> None:
        """Two of them: two cells around [5, 19), [0, 19) and [22, 24) of 24 enter; zeros where 24 cells end alone."""
        names = [START, STOP, f"{PADS}0", f"{PADS}1"]
        inputs = {name: list(value) for name, value in Cells((5, 0, 22), (19, 19, 24), (24,) * 3).inputs(names).items()}
        assert inputs == {
            START: [3, 0, 20],
            STOP: [21, 21, 24],
            f"{PADS}0": [0, 0, 0, 1, 0, 0, 0, 0, 0, 1],
            f"{PADS}1": [0, 0, 0, 1, 0, 0, 0, 0, 0, 1],
        }
        near = Cells((1, 2, 0), (23, 22, 24), (24,) * 3).inputs(names)
        assert list(near[f"{PADS}0"]) == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
        assert list(near[f"{PADS}1"]) == [0, 0, 1, 0, 1, 0, 0, 1, 0, 1]

    def test_a_graph_is_given_what_it_asks_for(self) -> None:
        """One exported before convolutions gave up their padding wants its whole halo between start and stop."""
        cells = Cells((3, 0, 3), (21, 21, 24), (24, 24, 24))
        assert cells.inputs([]) == {}
        assert {name: list(value) for name, value in cells.inputs([START, STOP]).items()} == {
            START: [3, 0, 3],
            STOP: [21, 21, 24],
        }

    def test_the_shipped_model_has_one(self, model: Model) -> None:
        assert model.crop == CROP

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"stride": 2}', '{"stride": 0, "halo": 3}', '{"stride": 2, "halo": 0.5}']
    )
    def test_another_entry_is_told(self, text: str) -> None:
        with pytest.raises(ModelError, match=r"kits_submit\.crop is .*; export the model again"):
            Crop.of({METADATA_KEY: text})
        assert Crop.of({}) is None


@st.composite
def asked(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Bounds]]:
    size = [draw(st.integers(1, 9)) * 4 for _ in range(3)]
    starts = [draw(st.integers(0, n - 1)) for n in size]
    return tuple(size), [(a, draw(st.integers(a + 1, n))) for a, n in zip(starts, size, strict=True)]


@settings(max_examples=25, deadline=None)
@given(wanted=asked(), patches=st.integers(1, 3))
def test_a_part_is_the_whole_patchs(engine: Engine, wanted: tuple[tuple[int, ...], list[Bounds]], patches: int) -> None:
    size, bounds = wanted
    batch = noise(patches, 1, *size)
    (z0, z1), (y0, y1), (x0, x1) = bounds
    start, stop = (z0, y0, x0), (z1, y1, x1)
    whole = engine.run(batch)
    assert whole.shape[2:] == size
    assert np.allclose(part_alone(engine, batch, 3, CROP, start, stop), part_of(whole, start, stop), rtol=0, atol=1e-4)


def test_the_halo_is_no_larger_than_it_must_be(engine: Engine) -> None:
    batch = noise(1, 1, 32, 32, 32)
    start, stop = (12, 12, 12), (20, 20, 20)
    narrow = part_alone(engine, batch, 3, replace(CROP, halo=0), start, stop)
    assert not np.allclose(narrow, part_of(engine.run(batch), start, stop), atol=1e-4)


def test_no_more_is_computed_than_asked(engine: Engine) -> None:
    cells = CROP.cells((12, 12, 12), (20, 20, 20), (32, 32, 32))
    assert engine.run(noise(2, 1, 32, 32, 32), cells).shape == (2, 3, 12, 12, 12)


@pytest.mark.parametrize("batch_size", [1, 4, 9])
@pytest.mark.parametrize("shape", [(30, 70, 49), (16, 40, 90)])
def test_a_volume_is_the_same_with_and_without(
    engine: Engine, model: Model, shape: tuple[int, int, int], batch_size: int
) -> None:
    image = noise(*shape)
    plan = PatchPlan((32, 32, 32), (8, 8, 8), 4)
    plain = stitch(image, model.recipe, engine, outside=-2.0, plan=plan, batch_size=3)
    cropped = stitch(image, model.recipe, engine, outside=-2.0, plan=plan, batch_size=batch_size, crop=model.crop)
    assert np.allclose(plain, cropped, rtol=0, atol=1e-5)
    assert np.array_equal(plain.argmax(axis=0), cropped.argmax(axis=0))


class Counting:
    """Logits of 1, 2 and 3 times each voxel's value; keeps what it was asked."""

    name, device, batch_voxels = "stand-in", "none", 1

    def __init__(self, most: int = 99) -> None:
        self.most = most
        self.asked: list[tuple[int, Cells | None]] = []

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        if len(batch) > self.most:
            raise OutOfMemory("no room", fix="")
        self.asked.append((len(batch), cells))
        whole = np.concatenate([batch, batch * 2, batch * 3], axis=1)
        if cells is None:
            return whole
        origin, size = CROP.voxels(cells)
        return part_of(whole, origin, [o + n for o, n in zip(origin, size, strict=True)])


def test_patches_are_computed_with_those_that_keep_as_much() -> None:
    """4 x 4 patches of 32 in one row, keeping 16 inside, 24 at a face: with a halo of 2 those are 20 and 26 voxels."""
    image, plan = noise(32, 80, 80), PatchPlan((32, 32, 32), (8, 8, 8), 4)
    counting = Counting()
    stitch(image, recipe(), counting, outside=0.0, plan=plan, batch_size=4, crop=CROP)
    patches: Counter[tuple[int, ...]] = Counter()
    for n, cells in counting.asked:
        assert cells is not None
        patches[CROP.voxels(cells)[1]] += n
    assert patches == {(32, 20, 20): 4, (32, 20, 26): 4, (32, 26, 20): 4, (32, 26, 26): 4}


def test_a_device_without_room_gets_parts_of_smaller_batches() -> None:
    image, plan = noise(32, 80, 80), PatchPlan((32, 32, 32), (8, 8, 8), 4)
    plain, small = (
        stitch(image, recipe(), Counting(most), outside=0.0, plan=plan, batch_size=4, crop=CROP) for most in (99, 2)
    )
    assert np.array_equal(plain, small)


def test_blended_patches_are_asked_for_whole() -> None:
    counting = Counting()
    plan = PatchPlan((32, 32, 32), (8, 8, 8), 4, overlap=0.5)
    stitch(noise(32, 40, 40), recipe(), counting, outside=0.0, plan=plan, crop=CROP)
    assert {cells for _, cells in counting.asked} == {None}


class Whole(Counting):
    """Cuts nothing."""

    def run(self, batch: Batch, _: Cells | None = None, /) -> Logits:
        return super().run(batch)


def test_an_engine_may_answer_with_whole_patches() -> None:
    image, plan = noise(32, 80, 80), PatchPlan((32, 32, 32), (8, 8, 8), 4)
    cut, whole = (stitch(image, recipe(), e, outside=0.0, plan=plan, crop=CROP) for e in (Counting(), Whole()))
    assert np.array_equal(cut, whole)


class NotANumber(OnnxRuntimeEngine):
    """NaN where the condition holds."""

    when: str

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        bad = cells is not None if self.when == "part" else len(batch) == 1
        return super().run(batch, cells) * np.float32(np.nan if bad else 1)


@pytest.mark.parametrize("when", ["part", "one by one"])
def test_an_engine_that_is_no_number_only_sometimes_is_not_trusted(model: Model, when: str) -> None:
    engine = NotANumber(model.content, "cpu")
    engine.when = when
    with pytest.raises(DeviceError, match="answers otherwise than the CPU"):
        check_parity(engine, model)


class Misplaced(OnnxRuntimeEngine):
    """Answers with a part one voxel beside the one asked for."""

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        logits = super().run(batch, cells)
        return logits if cells is None else np.roll(logits, 1, axis=4)


def test_an_engine_that_answers_with_another_part_is_not_trusted(model: Model) -> None:
    engine = Misplaced(model.content, "cpu")
    with pytest.raises(DeviceError, match=r"part of a patch from the whole by [1-9]"):
        check_parity(engine, model)
    assert "part against whole within " in check_parity(OnnxRuntimeEngine(model.content, "cpu"), model)


class TestExport:
    def test_a_decoder_of_several_stages_can_be_asked(self) -> None:
        """Its last stage is what is cut; a halo too small fails the parity."""
        torch.manual_seed(0)
        network = DeepLab3D(architecture_of("decoder-every-stage-2")).eval()
        written = network_to_onnx(network, recipe())
        assert crop_of(written) == CROP
        for crop, passes in ((CROP, True), (Crop(2, 0), False)):
            report = verify(written.SerializeToString(), network, recipe(), crop=crop, shapes=((1, 32, 24, 28),))
            assert report.passed is passes
            assert len(report.shapes) == 2

    def test_a_graph_of_another_kind_is_told(self, threshold_model: Any) -> None:
        graph = onnx.load(threshold_model())
        with pytest.raises(ModelError, match="the exported graph concatenates nothing; install the locked"):
            add_crop(graph)
        graph.graph.node[0].op_type = "Tanh"
        with pytest.raises(ModelError, match="has a Tanh behind its last concatenation"):
            add_crop(graph)

    def test_a_model_without_it_is_asked_for_whole_patches(self, threshold_model: Any) -> None:
        plain = load_model(threshold_model())
        assert plain.crop is None
        for start in (OpenVinoEngine, lambda content: OnnxRuntimeEngine(content, "cpu")):
            assert start(plain.content).run(noise(1, 1, 4, 4, 4)).shape == (1, 3, 4, 4, 4)

    def test_the_file_says_so(self, model: Model) -> None:
        graph = onnx.load_model_from_string(model.content).graph
        assert [value.name for value in graph.input] == ["image", START, STOP, f"{PADS}0", f"{PADS}1"]

    def test_an_older_file_answers_as_it_did(self, model: Model) -> None:
        """Whose convolutions pad, so that the whole halo enters them."""
        older = onnx.load_model_from_string(model.content)
        graph = older.graph
        for node in [node for node in graph.node if node.op_type == "Pad"]:
            (conv,) = (other for other in graph.node if node.output[0] in other.input)
            conv.input[0] = node.input[0]
            next(a for a in conv.attribute if a.name == "pads").ints[:] = [1] * 6
            graph.node.remove(node)
        del graph.input[3:]
        content, crop = older.SerializeToString(), Crop(2, 3)
        batch = noise(1, 1, 32, 32, 32)
        for engine in (OnnxRuntimeEngine(content, "cpu"), OpenVinoEngine(content)):
            whole = engine.run(batch)
            assert np.allclose(whole, OnnxRuntimeEngine(model.content, "cpu").run(batch), rtol=0, atol=1e-4)
            part = part_alone(engine, batch, 3, crop, (12, 8, 0), (20, 20, 12))
            assert np.allclose(part, whole[..., 12:20, 8:20, :12], rtol=0, atol=1e-4)
