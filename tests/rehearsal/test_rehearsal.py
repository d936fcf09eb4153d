"""The rehearsal, by this system's own limits and by a stand-in for a container engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kits_submit.errors import InputError
from kits_submit.rehearsal.cage import ContainerCage, ProcessCage, find_engine, snapshot
from kits_submit.rehearsal.rehearse import misfits
from kits_submit.rehearsal.sampling import Sample, Usage, tree_usage, usage
from kits_submit.rehearsal.terms import Budget, parse_bytes
from tests.commands.test_run import run, scan
from tests.conftest import ROOT, save


@pytest.mark.parametrize(("text", "size"), [
    ("16g", 16 << 30), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("1000", 1000), ("2 TB", 2 << 40), ("8K", 8 << 10),
])  # fmt: skip
def test_sizes_as_docker_takes_them(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "g", "-1g", "16x", "0", "1e9"])
def test_no_size_is_told(text):
    with pytest.raises(InputError, match="is no size; give one such as 16g"):
        parse_bytes(text)


def test_peaks_and_areas_by_hand():
    samples = [Sample(0, 99, 9, 9), Sample(1, 10, 3, 0), Sample(2, 30, 5, 4), Sample(4, 20, 4, 2), Sample(9, 99, 9, 9)]
    used = usage(samples, 1, 4)
    assert (used.seconds, used.resident, used.threads, used.gpu) == (3, 30, 5, 4)
    assert used.byte_seconds == 1 * (10 + 30) / 2 + 2 * (30 + 20) / 2
    assert used.gpu_byte_seconds == 1 * (0 + 4) / 2 + 2 * (4 + 2) / 2
    assert usage([], 0, 1).resident == 0


def test_memory_of_a_tree_of_processes():
    import subprocess

    hold = "import sys; held = bytearray(50_000_000); print(flush=True); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        resident, threads = tree_usage(process.pid)
        process.communicate()
    assert 50e6 < resident < 150e6
    assert threads >= 2
    assert tree_usage(process.pid) == (0, 0)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    for number in range(2):
        save(tmp_path / "in" / f"case_0000{number}.nii.gz", scan()[0])
    return tmp_path / "in"


def test_a_run_that_fits(cases, tmp_path, threshold_model, capfd):
    out = tmp_path / "kept"
    before = snapshot(cases)
    code = run(
        "rehearse", cases, "--memory", "2g", "--seconds", "120", "--engine", "none", "--model", threshold_model(),
        "--device", "cpu", "--output", out,
    )  # fmt: skip
    captured = capfd.readouterr()
    assert code == 0, captured.err
    assert captured.out.splitlines()[-1].startswith("verdict: fits: ")
    assert "s of 120 s" in captured.out
    for told in ("case_00000", "case_00001", "whole run", "no network", "read-only input", "memory", "read-only root"):
        assert told in captured.out
    assert {path.name for path in out.iterdir()} == {"prediction_00000.nii.gz", "prediction_00001.nii.gz", "run.json"}
    assert snapshot(cases) == before
    assert run("rehearse", cases, "--engine", "none", "--output", out) == 3
    assert "give an empty folder" in capfd.readouterr().err


def test_a_run_that_takes_too_much_memory_or_time_is_ended(cases, threshold_model, capfd):
    arguments = ("rehearse", cases, "--engine", "none", "--model", threshold_model(), "--device", "cpu")
    assert run(*arguments, "--memory", "20m") == 11
    assert "error: does not fit: it " in capfd.readouterr().err.splitlines()[-1]
    assert run(*arguments, "--seconds", "0.2") == 11
    assert "it took longer than 0.2 s, and was killed" in capfd.readouterr().err.splitlines()[-1]


def test_each_way_not_to_fit_is_told():
    budget = Budget(10**9, 60, case_seconds=5, processes=8)
    cases = [("case_00000", "done", Usage(4.0)), ("case_00001", "done", Usage(6.5))]
    assert misfits(Usage(60, 10**9, 8), cases[:1], budget, "", killed=False) == []
    assert misfits(Usage(61, threads=9), cases, budget, "", killed=False) == [
        "it took 61.0 s of 60 s", "it had 9 processes and threads, allowed 8", "case_00001 took 6.5 s of 5 s a case"
    ]  # fmt: skip
    (killed,) = misfits(Usage(1), [], budget, "", killed=True)
    assert killed == "it was killed, as by the memory limit of 1.00 GB (exit code 137)"
    assert misfits(Usage(61), [], budget, "it took longer", killed=True) == ["it took longer"]


def test_a_run_that_fails_gives_its_code_and_the_line_that_a_judge_would_show(cases, threshold_model, capfd):
    (cases / "case_00001.nii.gz").write_bytes(b"")
    assert run("rehearse", cases, "--engine", "none", "--model", threshold_model(), "--device", "cpu") == 4
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("error: the run failed with exit code 4: error: case_00001: ")


def test_limits_are_held_or_said_not_to_be(cases, tmp_path):
    """What is called enforced is tried by a program in the cage in place of the run."""
    import os
    import subprocess

    probe = (
        "import os, resource, socket, sys\n"
        "names = [n for _, n in socket.if_nameindex()]\n"
        f"try: open({str(cases / 'x')!r}, 'w').close(); written = True\n"
        "except OSError: written = False\n"
        "print(names == ['lo'] or names == [], not written, resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    cage = ProcessCage(cases, tmp_path / "out", Budget(1 << 30, 60, files=77), [])
    held = {limit.name: limit.enforced for limit in cage.limits}
    start = cage.command.index(sys.executable)
    cage.command = [*cage.command[:start], sys.executable, "-c", probe]
    try:
        process = subprocess.run(cage.command, capture_output=True, text=True, check=True, preexec_fn=cage._set_rlimits)
    finally:
        cage.close()
    alone, sealed, files = process.stdout.split()
    assert files == "77"
    assert alone == str(held["no network"])
    if held["read-only input"]:
        assert sealed == "True"
    assert held["open files"]
    assert not held["read-only root"]
    assert held["no privileges"] == (os.getuid() != 0)
    (cases / "x").unlink(missing_ok=True)


def test_the_flags_of_a_container_are_those_of_a_judge(cases, tmp_path):
    budget = Budget(8 << 30, 60, processes=256, files=1024)
    cage = ContainerCage("docker", "mine:1", cases, tmp_path, budget, ["--device", "auto"], gpu=True)
    words = " ".join(cage.command)
    for flag in (
        "--network none", "--read-only --tmpfs /tmp", "--cap-drop ALL", "--security-opt no-new-privileges",
        "--pids-limit 256", "--shm-size 128m", f"--memory {8 << 30} --memory-swap {8 << 30}",
        "--ulimit nofile=1024:1024",
        f"--volume {cases}:/input:ro", f"--volume {tmp_path}:/output", "--gpus all mine:1 --device auto",
    ):  # fmt: skip
        assert flag in words, flag
    assert all(limit.enforced for limit in cage.limits)


def test_a_container_engine_runs_the_image_and_is_measured(cases, tmp_path, threshold_model, monkeypatch, capfd):
    """A stand-in for docker that knows one image, whose entrypoint is ours."""
    model = threshold_model()
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    entry = ROOT / "entrypoint.py"
    engine.write_text(
        f"""#!{sys.executable}
import os, pathlib, subprocess, sys
state = pathlib.Path({str(tmp_path / "pid")!r})
words = sys.argv[1:]
if words[0] == "image":
    sys.exit(words[-1] != "kits-submit")
if words[0] == "inspect":
    print(state.read_text() if state.exists() else "0")
elif words[0] == "run":
    volumes = [words[i + 1].split(":") for i, word in enumerate(words) if word == "--volume"]
    places = {{inside: host for host, inside, *_ in volumes}}
    options = words[words.index("kits-submit") + 1:]
    state.write_text(str(os.getpid()))
    command = [sys.executable, {str(entry)!r}, places["/input"], places["/output"], "--model", {str(model)!r}]
    os.execv(sys.executable, [*command, *options])
"""
    )
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(engine.parent), prepend=":")
    assert find_engine("auto", "kits-submit") == ("docker", "")
    assert run("rehearse", cases, "--device", "cpu") == 0
    told = capfd.readouterr().out
    assert "Rehearsed: docker, image kits-submit" in told
    assert "verdict: fits: " in told


def test_an_engine_without_the_image_is_said_so(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_engine("none", "x") == (None, "")
    assert find_engine("auto", "x") == (None, "no docker here; no podman here")
    with pytest.raises(InputError, match="no docker here; build the image, or rehearse without it by --engine none"):
        find_engine("docker", "x")
    with pytest.raises(InputError, match="unknown engine 'lxc'"):
        find_engine("lxc", "x")
