"""The main job through the command line, on networks whose masks are known by hand."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kits_submit.cli import main
from tests import reference
from tests.conftest import ROOT, save

RAS = np.array([[0.8, 0, 0, -20], [0, 0.8, 0, 4], [0, 0, 3.0, 100], [0, 0, 0, 1]])


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def scan(shape: tuple[int, int, int] = (20, 40, 30), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """HU with a kidney block and a tumor block inside, and their labels."""
    hu = np.random.default_rng(seed).integers(-100, 60, shape).astype(np.float64)
    labels = np.zeros(shape, np.uint8)
    labels[4:16, 8:30, 6:24] = 1
    labels[8:12, 20:28, 10:20] = 2
    hu[labels == 1], hu[labels == 2] = 150, 300
    return hu, labels


@pytest.fixture
def cases(tmp_path) -> Path:
    """One KiTS case folder with label, one flat file in RAS without."""
    folder = tmp_path / "cases"
    hu, labels = scan()
    save(folder / "case_00001" / "imaging.nii.gz", hu)
    save(folder / "case_00001" / "segmentation.nii.gz", labels)
    save(folder / "case_00002.nii.gz", scan((30, 40, 20), seed=1)[0].astype(np.int16), RAS)
    return folder


def test_masks_scores_table_and_manifest(cases, tmp_path, threshold_model, capsys):
    out = tmp_path / "out"
    assert run("run", cases, out, "--model", threshold_model(), "--device", "cpu") == 0

    labels = scan()[1]
    written = nib.load(out / "prediction_00001.nii.gz")
    assert np.array_equal(np.asanyarray(written.dataobj), labels)
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(written.affine, nib.load(cases / "case_00001" / "imaging.nii.gz").affine)
    other = nib.load(out / "prediction_00002.nii.gz")
    assert other.shape == (30, 40, 20)
    assert np.array_equal(other.affine, nib.load(cases / "case_00002.nii.gz").affine)
    assert np.array_equal(np.asanyarray(other.dataobj), scan((30, 40, 20), seed=1)[1])

    (row,) = csv.DictReader((out / "scores.csv").read_text().splitlines())
    assert row["case"] == "case_00001"
    assert float(row["kidney_dice"]) == float(row["tumor_dice"]) == 1.0
    assert json.loads((out / "scores.json").read_text())["cases"][0]["kidney_dice"] == 1.0

    manifest = json.loads((out / "run.json").read_text())
    assert manifest["device"] == "CPUExecutionProvider"
    assert len(manifest["model"]["sha256"]) == 64
    first, second = manifest["cases"]
    assert (first["status"], second["orientation"]) == ("done", "RAS")
    assert set(first["seconds"]) == {"read", "resample", "network", "restore", "refine", "write"}
    assert first["peak_mb"] > 1
    assert first["volume_ml"]["tumor"] == pytest.approx((labels == 2).sum() * 3 * 0.8 * 0.8 / 1000)

    captured = capsys.readouterr()
    assert "case_00001" in captured.out
    assert "case_00002" in captured.out
    assert captured.err == ""


def test_labels_from_another_folder_and_a_single_file(cases, tmp_path, threshold_model):
    labels = tmp_path / "labels"
    save(labels / "case_00002.nii.gz", scan((30, 40, 20))[1], RAS)
    out = tmp_path / "out"
    image = cases / "case_00002.nii.gz"
    assert run("run", image, out, "--labels", labels, "--model", threshold_model()) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "prediction_00002.nii.gz", "run.json", "scores.csv", "scores.json"
    ]  # fmt: skip


def test_another_spacing_is_resampled_there_and_back(tmp_path, threshold_model):
    """Half the Recipe's spacing: blocks stay blocks but for a voxel at their faces."""
    hu, labels = scan((40, 80, 60))
    affine = np.diag([-1.5, -0.4, -0.4, 1.0])[[2, 1, 0, 3]]
    save(tmp_path / "in" / "case_00001.nii.gz", hu, affine)
    assert run("run", tmp_path / "in", tmp_path / "out", "--model", threshold_model()) == 0
    mask = np.asanyarray(nib.load(tmp_path / "out" / "prediction_00001.nii.gz").dataobj)
    assert mask.shape == labels.shape
    wrong = (mask == 2) != (labels == 2)
    core = np.zeros(labels.shape, bool)
    core[7:13, 19:29, 9:21] = True
    core[9:11, 21:27, 11:19] = False
    assert not (wrong & ~core).any()


@pytest.mark.parametrize("case", ["case_90001", "case_90005"])
def test_real_ct_in_its_own_orientation_gets_a_mask_on_its_own_grid(real_ct, tmp_path, case):
    """The shipped model on an LPS scan of a hospital and on an RAS one of 3 mm voxels."""
    image = real_ct / case / "imaging.nii.gz"
    assert run("run", real_ct / case, tmp_path, "--device", "cpu") == 0
    source, mask = nib.load(image), nib.load(tmp_path / f"prediction_{case[-5:]}.nii.gz")
    assert mask.shape == source.shape
    assert np.array_equal(mask.affine, source.affine)
    assert np.array_equal(mask.header.get_zooms(), source.header.get_zooms())
    voxels = np.asanyarray(mask.dataobj)
    assert set(np.unique(voxels)) <= {0, 1, 2}
    (row,) = csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())
    truth = np.asanyarray(nib.load(real_ct / case / "segmentation.nii.gz").dataobj)
    assert float(row["kidney_dice"]) == pytest.approx(reference.dice(voxels == 1, truth == 1), abs=1e-9)


class TestBadInput:
    """One clear last line on stderr, the documented exit code, the other cases done, no half-written mask."""

    def told(self, capsys: pytest.CaptureFixture[str]) -> str:
        return capsys.readouterr().err.splitlines()[-1]

    def test_a_missing_folder(self, tmp_path, capsys):
        assert run("run", tmp_path / "none", tmp_path / "out") == 3
        assert self.told(capsys).endswith("none: no such file or folder; check the path, and in a container the mount")
        assert not (tmp_path / "out").exists()

    def test_no_cases(self, tmp_path, capsys):
        (tmp_path / "in").mkdir()
        assert run("run", tmp_path / "in", tmp_path / "out") == 3
        assert "no case found; expected case_00000/imaging.nii.gz" in self.told(capsys)

    def test_a_truncated_gzip_fails_alone(self, cases, tmp_path, threshold_model, capsys):
        image = cases / "case_00001" / "imaging.nii.gz"
        image.write_bytes(image.read_bytes()[:5000])
        out = tmp_path / "out"
        assert run("run", cases, out, "--model", threshold_model()) == 4
        assert self.told(capsys) == (
            f"error: case_00001: {image}: the gzip stream ends early; "
            "it is damaged or was not downloaded whole: get it again"
        )
        assert sorted(path.name for path in out.iterdir()) == ["prediction_00002.nii.gz", "run.json"]
        manifest = json.loads((out / "run.json").read_text())
        assert [case["status"] for case in manifest["cases"]] == ["failed", "done"]
        assert manifest["exit_code"] == 4

    def test_a_label_of_another_shape_leaves_the_mask_and_fails_the_score(
        self, cases, tmp_path, threshold_model, capsys
    ):
        save(cases / "case_00001" / "segmentation.nii.gz", np.zeros((20, 40, 31), np.uint8))
        assert run("run", cases, tmp_path / "out", "--model", threshold_model()) == 5
        last = self.told(capsys)
        assert last.startswith("error: case_00001: ")
        assert "(20, 40, 30)" in last
        assert "(20, 40, 31)" in last
        assert (tmp_path / "out" / "prediction_00001.nii.gz").is_file()

    def test_a_model_without_recipe(self, cases, tmp_path, threshold_model, capsys):
        assert run("run", cases, tmp_path / "out", "--model", threshold_model(metadata={})) == 7
        assert "carries no Recipe" in self.told(capsys)

    def test_failures_of_several_kinds(self, cases, tmp_path, threshold_model, capsys):
        (cases / "case_00000").mkdir()
        (cases / "case_00002.nii.gz").write_bytes(b"")
        assert run("run", cases, tmp_path / "out", "--model", threshold_model()) == 10
        assert self.told(capsys).endswith("(and 1 more of 3 cases: see run.json)")
        assert (tmp_path / "out" / "prediction_00001.nii.gz").is_file()

    def test_a_network_that_answers_nan_fails_the_case(self, cases, tmp_path, threshold_model, capsys):
        model = threshold_model(weights=[np.nan] * 3)
        assert run("run", cases, tmp_path / "out", "--model", model, "--device", "cpu") == 7
        assert "NaN or infinite values" in self.told(capsys)
        assert not list((tmp_path / "out").glob("*.nii.gz"))

    def test_an_output_that_is_a_file(self, cases, tmp_path, threshold_model, capsys):
        (tmp_path / "out").touch()
        assert run("run", cases, tmp_path / "out", "--model", threshold_model()) == 9
        assert "cannot be written" in self.told(capsys)

    def test_a_bug_shows_no_traceback_unless_asked(self, cases, tmp_path, threshold_model, capsys, monkeypatch):
        def broken(*_: object) -> None:
            raise ZeroDivisionError("secret")

        arguments = ("run", cases, tmp_path / "out", "--model", threshold_model())
        monkeypatch.setattr("kits_submit.inference.pipeline.refine_in_place", broken)
        assert run(*arguments) == 1
        told = capsys.readouterr().err
        assert "unexpected ZeroDivisionError; run again with --debug and report it (and 1 more" in told.splitlines()[-1]
        assert "Traceback" not in told
        manifest = json.loads((tmp_path / "out" / "run.json").read_text())
        assert "network" in manifest["cases"][0]["seconds"]
        assert "secret" not in json.dumps(manifest)
        assert run(*arguments, "--debug") == 1
        assert "Traceback" in capsys.readouterr().err
        monkeypatch.setattr("kits_submit.commands.session.find_cases", broken)
        assert run(*arguments) == 1
        assert capsys.readouterr().err == "error: unexpected ZeroDivisionError; run again with --debug and report it\n"

    @pytest.mark.parametrize("arguments", [("rum",), ("run", "/nope"), ("run", "a", "b", "--device")])
    def test_a_wrong_command_line(self, capsys, arguments):
        assert run(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert "--help`" in line

    def test_micrometres_fail_alone(self, cases, tmp_path, threshold_model, capsys):
        save(cases / "case_00000.nii.gz", np.zeros((20, 40, 30), np.int16), np.diag([800.0, 800.0, 3000.0, 1.0]))
        assert run("run", cases, tmp_path / "out", "--model", threshold_model()) == 4
        assert "it spans 90000 x 32000 x 16000 mm" in self.told(capsys)
        assert (tmp_path / "out" / "prediction_00001.nii.gz").is_file()

    def test_an_unknown_protocol_is_told_before_anything_runs(self, cases, tmp_path, threshold_model, capsys):
        assert run("run", cases, tmp_path / "out", "--model", threshold_model(), "--protocol", "kits20") == 2
        assert "kits20" in self.told(capsys)
        assert not (tmp_path / "out").exists()

    def test_labels_of_no_case(self, cases, tmp_path, threshold_model, capsys):
        save(tmp_path / "labels" / "case_00077.nii.gz", scan()[1])
        assert run("run", cases, tmp_path / "out", "--labels", tmp_path / "labels", "--model", threshold_model()) == 3
        assert "no label map of any case: it has case_00077, the input has case_00001" in self.told(capsys)


def test_a_reader_that_has_gone_loses_no_file(cases, tmp_path, threshold_model):
    command = [sys.executable, "-m", "kits_submit", "run", str(cases), str(tmp_path / "out")]
    with subprocess.Popen(
        [*command, "--model", str(threshold_model())], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert {"run.json", "scores.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_an_earlier_runs_scores_are_not_left_as_this_ones(cases, tmp_path, threshold_model):
    out = tmp_path / "out"
    assert run("run", cases, out, "--model", threshold_model()) == 0
    (cases / "case_00001" / "segmentation.nii.gz").unlink()
    assert run("run", cases, out, "--model", threshold_model()) == 0
    assert not (out / "scores.csv").exists()


def test_no_mask_of_an_earlier_run_stands_for_a_case_that_fails_now(cases, tmp_path, threshold_model):
    out = tmp_path / "out"
    assert run("run", cases, out, "--model", threshold_model()) == 0
    (cases / "case_00001" / "imaging.nii.gz").write_bytes(b"")
    assert run("run", cases, out, "--model", threshold_model()) == 4
    assert not (out / "prediction_00001.nii.gz").exists()
    assert (out / "prediction_00002.nii.gz").exists()


def test_sigterm_ends_with_its_code_and_no_stray_file(tmp_path, threshold_model):
    for number in range(12):
        save(tmp_path / "in" / f"case_{number:05d}.nii.gz", scan((60, 90, 90) if number else (20, 40, 30))[0])
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "entrypoint.py"), str(tmp_path / "in"), str(out)]
    with subprocess.Popen(
        [*command, "--model", str(threshold_model())], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 60
        while not list(out.glob("prediction_*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        last = process.stderr.read().splitlines()[-1]
    assert process.returncode == 143
    assert last == "error: stopped by SIGTERM; what is written is whole, run again"
    assert json.loads((out / "run.json").read_text())["exit_code"] is None
    for path in out.iterdir():
        assert not path.name.endswith(".part")
        if path.name != "run.json":
            nib.load(path).get_fdata()


def test_help_is_fast_and_names_every_command():
    """Under 0.5 s of CPU time, torch-free, and each command and option has a help text."""
    code = (
        "import resource, sys\n"
        "from kits_submit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = [m for m in ('torch', 'onnx', 'onnxruntime', 'pandas', 'scipy', 'numpy') if m in sys.modules]\n"
        "print(used.ru_utime + used.ru_stime, heavy, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    seconds, heavy = done.stderr.strip().splitlines()[-1].split(" ", 1)
    assert float(seconds) < 0.5
    assert "torch" not in heavy
    assert "onnx" not in heavy
    for command in ("run", "phantom", "train", "export", "evaluate", "doctor", "rehearse"):
        assert f" {command} " in done.stdout


def test_every_command_and_option_has_a_help_text():
    import typer

    from kits_submit.cli import build_app

    group = typer.main.get_command(build_app())
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("package", ["kits_submit", "evaluation"])
def test_no_module_of_the_runtime_or_the_scorer_imports_torch(package):
    code = (
        f"import importlib, pkgutil, sys, {package}\n"
        f"for module in pkgutil.walk_packages({package}.__path__, '{package}.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "sys.exit(', '.join(m for m in ('torch', 'onnx', 'train', 'export') if m in sys.modules) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_entrypoint_takes_the_containers_folders_by_default(tmp_path):
    if Path("/input").exists():
        pytest.skip("this machine has an /input of its own")
    done = subprocess.run(
        [sys.executable, str(ROOT / "entrypoint.py")],
        capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr == "error: /input: nothing is mounted there; add -v CASES:/input:ro\n"
