"""A batch under way: failing devices, order of what the watcher is told, threads that end."""

from __future__ import annotations

import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kits_submit.batch import job
from kits_submit.batch.outcome import Watcher
from kits_submit.batch.runner import run_cases
from kits_submit.channels import Ahead, Closed, Worker
from kits_submit.engine.crop import Cells
from kits_submit.engine.model import load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.engine.select import Selection, select_engine
from kits_submit.errors import DeviceError
from kits_submit.files.cases import find_cases
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.seen import Seen
from tests.conftest import save


class Dying:
    """An engine that works for so many batches and then fails, or answers NaN."""

    name, device, batch_voxels = "stand-in", "dying", 16**3

    def __init__(self, content: bytes, batches: int, *, nan: bool = False) -> None:
        self._good, self._left, self._nan = OnnxRuntimeEngine(content, "cpu"), batches, nan

    def run(self, batch: np.ndarray, cells: Cells | None = None, /) -> np.ndarray:
        self._left -= 1
        if self._left < 0 and self._nan:
            return self._good.run(batch, cells) * np.float32(np.nan)
        if self._left < 0:
            raise DeviceError("the device has gone", fix="restart it")
        return self._good.run(batch, cells)


class Telling(Watcher):
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.threads: set[int] = set()

    def case_started(self, case: str) -> None:
        self.told.append(("started", case))

    def case_noted(self, case: str, note: str) -> None:
        self.told.append(("noted", note))

    def case_ended(self, result) -> None:
        self.threads.add(threading.get_ident())
        self.told.append((result.status, result.case))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        hu = np.random.default_rng(number).integers(-100, 60, (20, 40, 30)).astype(np.float64)
        hu[4:16, 8:30, 6:24] = 150
        save(tmp_path / "in" / f"case_{number:05d}.nii.gz", hu)
    return tmp_path / "in"


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("nan", [False, True])
def test_a_device_that_dies_leaves_its_case_to_the_rung_below(folder, tmp_path, threshold_model, jobs, nan):
    model = load_model(threshold_model())
    cpu = OnnxRuntimeEngine(model.content, "cpu")
    watcher = Telling()
    expected = run_cases(find_cases(folder), tmp_path / "good", model, Selection(cpu), jobs=jobs)
    selection = Selection(Dying(model.content, 20, nan=nan), rung="cuda", lower=[("cpu", lambda: cpu)])
    results = run_cases(find_cases(folder), tmp_path / "out", model, selection, watcher, jobs=jobs)
    assert [result.status for result in results] == ["done"] * 4
    assert [result.volume_ml for result in results] == [result.volume_ml for result in expected]
    assert sum(len(result.retried) for result in results) == 1
    assert results[0].device == "dying"
    assert results[-1].device == "CPUExecutionProvider"
    assert len(selection.steps) == 1
    assert selection.steps[0].startswith("cuda: ")
    for path in sorted((tmp_path / "good").iterdir()):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    assert sorted(case for status, case in watcher.told if status == "done") == [r.case for r in results]
    assert watcher.threads == {threading.get_ident()}


@pytest.mark.parametrize("overlap", [None, 0.5])
def test_no_more_of_a_patch_is_asked_for_than_is_kept(tmp_path, model, overlap):
    """40 voxels along X by patches of 20 that keep 4, 12 at a face; a cell of two voxels around them."""
    save(
        tmp_path / "in" / "case_00000.nii.gz",
        np.random.default_rng(0).integers(-100, 200, (120, 12, 16)).astype(np.float64),
        np.eye(4),
    )
    asked = []

    class Noting(OnnxRuntimeEngine):
        def run(self, batch: np.ndarray, cells: Cells | None = None, /) -> np.ndarray:
            asked.append(cells)
            return super().run(batch, cells)

    plan = PatchPlan((4, 4, 20), (0, 0, 8), 4, overlap)
    run_cases(find_cases(tmp_path / "in"), tmp_path / "out", model, Selection(Noting(model.content, "cpu")), plan=plan)
    if overlap is None:
        assert {(cells.start[2], cells.stop[2]) for cells in asked if cells} == {(0, 7), (3, 7), (3, 10)}
    else:
        assert set(asked) == {None}


def test_a_device_that_dies_on_the_last_rung_fails_alone(folder, tmp_path, threshold_model):
    model = load_model(threshold_model())
    results = run_cases(find_cases(folder), tmp_path / "out", model, Selection(Dying(model.content, 20)))
    assert results[0].status == "done"
    assert results[-1].error == "the device has gone; restart it"
    assert results[-1].exit_code == 8
    assert not list((tmp_path / "out").glob(".*"))


def test_a_lower_rung_that_does_not_start_is_a_step_too(threshold_model):
    model = load_model(threshold_model())

    def refuse() -> OnnxRuntimeEngine:
        raise DeviceError("no", fix="")

    cpu = OnnxRuntimeEngine(model.content, "cpu")
    selection = Selection(cpu, rung="cuda", lower=[("openvino", refuse), ("cpu", lambda: cpu)])
    assert selection.step_down("died")
    assert selection.steps == ("cuda: died", "openvino: no")
    assert not selection.step_down("died")


def test_a_required_gpu_is_never_replaced(threshold_model, monkeypatch):
    monkeypatch.setattr("kits_submit.engine.select.gpu_present", lambda: False)
    model = load_model(threshold_model())
    with pytest.raises(DeviceError, match=r"a GPU is required, and none runs .cuda: no NVIDIA GPU is visible"):
        select_engine("auto", model, require_gpu=True)
    with pytest.raises(DeviceError, match="the device asked for is cpu"):
        select_engine("cpu", model, require_gpu=True)


def test_a_case_that_cannot_be_read_leaves_the_others(folder, tmp_path, threshold_model):
    model = load_model(threshold_model())
    broken = folder / "case_00001.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-20])
    selection = Selection(OnnxRuntimeEngine(model.content, "cpu"))
    results = run_cases(find_cases(folder), tmp_path / "out", model, selection, jobs=2)
    assert [result.status for result in results] == ["done", "failed", "done", "done"]
    assert not (tmp_path / "out" / "prediction_00001.nii.gz").exists()
    assert nib.load(tmp_path / "out" / "prediction_00002.nii.gz").shape == (20, 40, 30)


class Logged(Dying):
    """Tells the watcher's own list when it computes."""

    def __init__(self, content: bytes, told: list[tuple[str, str]]) -> None:
        super().__init__(content, 10**6)
        self._told = told

    def run(self, batch: np.ndarray, cells: Cells | None = None, /) -> np.ndarray:
        self._told.append(("computed", ""))
        return super().run(batch, cells)


@pytest.mark.parametrize("planes", [20, 400])
def test_a_scan_out_of_hu_is_noted_before_the_network_computes(tmp_path, threshold_model, planes):
    """However long it is: more planes than are read ahead."""
    hu = np.full((20, 20, planes), 30, np.int16)
    hu[2:18, 2:18] = 1100
    save(tmp_path / "in" / "case_00000.nii.gz", hu)
    model, watcher = load_model(threshold_model()), Telling()
    engine = Logged(model.content, watcher.told)
    (result,) = run_cases(find_cases(tmp_path / "in"), tmp_path / "out", model, Selection(engine), watcher)
    kinds = [kind for kind, _ in watcher.told]
    assert kinds[:3] == ["started", "noted", "computed"]
    assert watcher.told[1][1].startswith("no voxel is under -50 HU")
    assert kinds.count("noted") == 1
    assert watcher.told[1][1] in result.notes


def test_a_scan_in_hu_is_computed_while_it_is_read(tmp_path, threshold_model, monkeypatch):
    hu = np.random.default_rng(0).integers(-100, 60, (20, 20, 400)).astype(np.int16)
    save(tmp_path / "in" / "case_00000.nii.gz", hu)
    model = load_model(threshold_model())
    seen, read = [], []
    monkeypatch.setattr(job, "Seen", lambda: seen.append(Seen()) or seen[-1])

    class Reading(Dying):
        def run(self, batch: np.ndarray, cells: Cells | None = None, /) -> np.ndarray:
            read.append(seen[-1].complete)
            return super().run(batch, cells)

    engine = Reading(model.content, 10**6)
    run_cases(find_cases(tmp_path / "in"), tmp_path / "out", model, Selection(engine))
    assert (read[0], seen[-1].complete) == (False, True)


def test_threads_end_when_they_are_left():
    before = threading.active_count()
    ahead = Ahead(iter(range(10**9)), capacity=3)
    assert next(iter(ahead)) == 0
    ahead.close()
    worker = Worker(lambda items: [None for _ in items] and None, capacity=2)
    worker.put(1)
    worker.close()
    with pytest.raises(Closed):
        worker.put(2)
    assert threading.active_count() == before


def test_failures_cross_the_channel():
    def bad():
        yield 1
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        list(Ahead(bad(), capacity=1))
    worker = Worker(lambda items: 1 / (next(items) - 1), capacity=1)  # type: ignore[arg-type, return-value]
    worker.put(1)
    worker.join()
    assert isinstance(worker.error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        worker.put(2)
