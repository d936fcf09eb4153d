"""Memory limits as this system tells them, cases that would not fit, and the doctor's word on both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kits_submit.batch import budget
from kits_submit.batch.budget import Fit, check_fit, least_bytes, most_bytes
from kits_submit.checks import doctor
from kits_submit.errors import BudgetError, DeviceError, OutputError
from kits_submit.files.cases import find_cases
from kits_submit.machine import limits
from kits_submit.machine.limits import FreeMemory, free_memory
from tests.conftest import recipe, save

MACHINE = "MemTotal: 16000 kB\nMemFree: 10 kB\nMemAvailable: 8000 kB\nSwapFree: 1000 kB\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 9,216,000 free bytes, with no control group and no rlimit."""
    (tmp_path / "meminfo").write_text(MACHINE)
    (tmp_path / "cgroup").write_text("")
    monkeypatch.setattr(limits, "_MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(limits, "_OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "CGROUP_ROOT", tmp_path / "fs")
    monkeypatch.setattr(limits.resource, "getrlimit", lambda kind: (limits.resource.RLIM_INFINITY,) * 2)
    return tmp_path


def group(folder: Path, names: tuple[str, str], limit: str, used: int, cache: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cache}\n")


def test_of_a_machine(system):
    assert free_memory() == FreeMemory(9000 * 1024, 16000 * 1024, "memory of this machine")
    (system / "meminfo").unlink()
    assert free_memory() is None


@pytest.mark.parametrize("inside", ["/user/app", "/not/there"])
def test_of_a_v2_control_group_and_those_above_it(system, inside):
    """A container may not see its path: the root of the mount is its own then."""
    (system / "cgroup").write_text(f"0::{inside}\n")
    names = ("memory.max", "memory.current")
    group(system / "fs", names, "6000000", 3000000, "inactive_file 1000000")
    group(system / "fs" / "user", names, "max", 3000000, "")
    if inside == "/user/app":
        group(system / "fs" / "user" / "app", names, "5000000", 3000000, "inactive_file 500000")
    free = free_memory()
    assert free is not None
    assert free.free_bytes == (2500000 if inside == "/user/app" else 4000000)
    assert "container" in free.source


def test_of_a_v1_control_group(system):
    (system / "cgroup").write_text("5:devices:/a\n4:cpu,memory:/box\n0::/\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(system / "fs" / "memory", names, str(2**63 - 4096), 10, "total_inactive_file 0")
    group(system / "fs" / "memory" / "box", names, "4000000", 1000000, "total_inactive_file 200000")
    free = free_memory()
    assert free is not None
    assert (free.free_bytes, free.limit_bytes) == (3200000, 4000000)


def test_of_ulimit(system, monkeypatch):
    monkeypatch.setattr(limits.resource, "getrlimit", lambda kind: (1 << 40, 1 << 40))
    assert free_memory() == FreeMemory(9000 * 1024, 16000 * 1024, "memory of this machine")
    monkeypatch.setattr(limits.resource, "getrlimit", lambda kind: (1 << 20, 1 << 20))
    free = free_memory()
    assert free is not None
    assert free.free_bytes == 0
    assert "ulimit" in free.source


def test_a_case_that_would_not_fit_is_named_with_both_numbers(tmp_path, monkeypatch):
    save(tmp_path / "case_00000.nii.gz", np.zeros((20, 40, 30), np.int16))
    (tmp_path / "case_00001.nii.gz").write_bytes(b"")
    cases = find_cases(tmp_path)
    needed = least_bytes((20, 40, 30), (3.0, 0.8, 0.8), recipe())
    most = most_bytes((20, 40, 30), (3.0, 0.8, 0.8), recipe())
    assert needed < most

    def fit(free: int) -> Fit:
        monkeypatch.setattr(budget, "free_memory", lambda: FreeMemory(free, 1 << 40, "memory"))
        return check_fit(cases, recipe())

    assert fit(most) == Fit([], [])
    (line,) = fit(most - 1).tight
    assert line.startswith(f"case_00000 needs {needed / 1e9:.1f} to {most / 1e9:.1f} GB, ")
    assert fit(needed).refused == []
    (result,) = fit(needed - 1).refused
    assert (result.case, result.status, result.exit_code) == ("case_00000", "failed", BudgetError.exit_code)
    assert "needs at least" in result.error
    monkeypatch.setattr(budget, "free_memory", lambda: None)
    assert check_fit(cases, recipe()) == Fit([], [])


def test_more_voxels_of_either_grid_need_more():
    """At most; at least only those of the network's grid do, for a background that nobody touches takes no memory."""
    shape, thinner, longer = ((100, 512, 512), 3.0), ((200, 512, 512), 1.5), ((100, 512, 512), 6.0)
    least, most = (
        [of(voxels, (mm, 0.8, 0.8), recipe()) for voxels, mm in (shape, thinner, longer)]
        for of in (least_bytes, most_bytes)
    )
    assert least[0] == least[1] < least[2]
    assert most[0] < min(most[1:])


class TestDoctor:
    def test_memory_disk_and_folders(self, tmp_path, threshold_model, monkeypatch):
        told, failures = doctor.examine(threshold_model(), "cpu", tmp_path / "made later" / "out")
        facts = dict(told)
        assert failures == []
        assert facts["parity with CPU"].startswith("it is the reference; two at once against one by one within ")
        assert facts["output"].startswith(f"{tmp_path} can be written, ")
        assert "GB of " in facts["free memory"]

        monkeypatch.setattr(doctor, "free_memory", lambda: FreeMemory(10 << 20, 1 << 30, "memory of a toy"))
        (tmp_path / "file").touch()
        _, failures = doctor.examine(threshold_model(), "cpu", tmp_path / "file")
        assert [type(failure) for failure in failures] == [BudgetError, OutputError]
        assert "memory of a toy" in str(failures[0])

    def test_an_engine_that_answers_otherwise_is_unfit(self, threshold_model, monkeypatch):
        from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
        from kits_submit.engine.select import Selection

        class BlackEngine(OnnxRuntimeEngine):
            def run(self, batch: np.ndarray, cells: object = None, /) -> np.ndarray:
                return super().run(batch, cells) * 0

        monkeypatch.setattr(doctor, "select_engine", lambda device, model: Selection(BlackEngine(model.content, "cpu")))
        _, failures = doctor.examine(threshold_model(), "cpu")
        assert [type(failure) for failure in failures] == [DeviceError]
        assert "answers otherwise than the CPU" in str(failures[0])

    def test_an_engine_that_mixes_up_its_batch_is_unfit(self, threshold_model, monkeypatch):
        from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
        from kits_submit.engine.select import Selection

        class Swapping(OnnxRuntimeEngine):
            def run(self, batch: np.ndarray, cells: object = None, /) -> np.ndarray:
                return super().run(batch, cells)[::-1]

        monkeypatch.setattr(doctor, "select_engine", lambda device, model: Selection(Swapping(model.content, "cpu")))
        _, failures = doctor.examine(threshold_model(), "cpu")
        assert "a batch of two differs from one by one" in str(failures[0])
