"""A run on two nodes is the run on one machine, whatever happens to workers and nodes on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kits_submit.batch.journal import entries
from tests.batch.cluster.conftest import NODE
from tests.conftest import save, write_threshold_model
from tests.faults.conftest import Ended, inside, labels_of, scan
from tests.files.remote.s3 import Bucket

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
CASES = 8
IN_FLIGHT = 3  # a worker's, with --jobs 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_threshold_model(tmp_path_factory.mktemp("model") / "threshold.onnx")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One without a label, one that cannot be read."""
    folder = tmp_path_factory.mktemp("cases")
    for number in range(CASES):
        hu = scan((20 + number, 30, 20), tumor=number != 3)
        save(folder / f"case_0000{number}" / "imaging.nii.gz", hu)
        truth = labels_of(hu)
        truth[2, 3, :number] = 2
        if number != 1:
            save(folder / f"case_0000{number}" / "segmentation.nii.gz", truth)
    broken = folder / "case_00004" / "imaging.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-9])
    return folder


@pytest.fixture(scope="module")
def serial(cases, model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    out = tmp_path_factory.mktemp("serial")
    return out, inside(cases, out, "--model", model, "--device", "cpu")


def run(cases: object, out: object, model: Path, address: str, *more: object) -> Ended:
    return inside(cases, out, "--model", model, "--device", "cpu", "--cluster", address, *more)


def document(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_bytes())


def timeless(folder: Path) -> dict[str, object]:
    found = document(folder)
    for entry in found["cases"]:
        for name in ("started", "ended", "seconds", "wall_seconds", "peak_mb"):
            entry.pop(name, None)
    return {name: value for name, value in found.items() if name not in ("seconds", "threads")}


def same_as(serial: tuple[Path, Ended], out: Path, ended: Ended) -> None:
    expected, plain = serial
    assert (ended.code, ended.lines) == (plain.code, plain.lines)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in expected.iterdir())
    assert timeless(out) == timeless(expected)
    for path in expected.iterdir():
        if path.name != "run.json":
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def slow(seconds: float, deadly: str = "", marker: str = "", log: str = "") -> Callable[..., None]:
    """In place of `trust`, in the worker; a closure, so that it is sent whole.

    Cases take so long; one kills its worker, where there is a marker once alone. Those begun are lines of a log.
    """

    def trust(selection, model) -> None:
        import os
        import signal
        import time
        from pathlib import Path

        from kits_submit.batch.job import Job

        plain = Job.begin

        def begin(self) -> None:
            if log:
                with Path(log).open("a") as out:
                    out.write(f"{self.case.case_id}\n")
            time.sleep(seconds)
            if self.case.case_id == deadly and not (marker and Path(marker).exists()):
                if marker:
                    Path(marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            plain(self)

        Job.begin = begin

    return trust


def test_two_nodes_give_what_one_machine_gives(cluster, cases, model, serial, tmp_path):
    ended = run(cases, tmp_path, model, cluster.address)
    same_as(serial, tmp_path, ended)
    again = run(cases, tmp_path, model, cluster.address)
    assert again.lines[0].startswith(f"kept: {CASES - 1} of {CASES} cases")


@pytest.mark.slow
def test_two_nodes_from_a_bucket_into_a_bucket(cluster, server, cases, model, serial):
    bucket = Bucket(server.url)
    bucket.put_folder(cases, "in")
    ended = run("s3://bucket/in", "s3://bucket/out", model, cluster.address)
    assert ended.code == serial[1].code
    assert bucket.keys("out") == sorted(f"out/{path.name}" for path in serial[0].iterdir())
    for path in serial[0].iterdir():
        if path.suffix == ".gz" or path.name == "scores.csv":
            assert bucket.get(f"out/{path.name}") == path.read_bytes(), path.name
    again = run("s3://bucket/in", "s3://bucket/out", model, cluster.address)
    assert again.lines[0].startswith(f"kept: {CASES - 1} of {CASES} cases")


@pytest.mark.slow
def test_a_case_that_kills_its_worker_fails_alone(cluster, cases, model, tmp_path, monkeypatch):
    monkeypatch.setattr("kits_submit.commands.segment.trust", slow(0, deadly="case_00002"))
    ended = run(cases, tmp_path, model, cluster.address)
    told = {entry["case"]: entry["error"] for entry in document(tmp_path)["cases"] if entry["error"]}
    assert sorted(told) == ["case_00002", "case_00004"]
    assert "two workers died of it, the last one alone with it on node" in told["case_00002"]
    assert ended.code == 10
    assert len(list(tmp_path.glob("prediction_*"))) == CASES - 2


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "SIGINT")])
def test_a_run_that_is_stopped_keeps_what_its_workers_did(
    cluster, cases, model, serial, tmp_path, monkeypatch, number, code, name
):
    monkeypatch.setattr("kits_submit.commands.segment.trust", slow(0.5))

    def recorded() -> list[dict[str, object]]:
        return [entry for entry in entries(tmp_path).values() if entry["status"] == "done"]

    def stop() -> None:
        deadline = time.monotonic() + 300
        while not recorded() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    stopper = threading.Thread(target=stop)
    stopper.start()
    ended = run(cases, tmp_path, model, cluster.address)
    stopper.join()
    assert ended.code == code
    assert ended.last == f"error: stopped by {name}; what is written is whole, run again"
    assert 1 <= len(recorded()) < CASES
    monkeypatch.undo()
    ended = run(cases, tmp_path, model, cluster.address)
    assert ended.lines[0].startswith("kept: ")
    assert ended.code == serial[1].code
    for path in serial[0].glob("prediction_*"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_head_that_is_lost_is_told_at_once_and_the_same_command_goes_on_with_another(model, tmp_path):
    from ray.cluster_utils import Cluster

    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(CASES):
        save(source / f"case_0000{number}" / "imaging.nii.gz", scan((120, 256, 256)))
    first = Cluster(initialize_head=True, head_node_args=NODE)
    command = [sys.executable, "-m", "kits_submit", "run", source, out, "--model", model, "--device", "cpu"]
    with subprocess.Popen(
        [*map(str, command), "--cluster", first.address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not any(entry["status"] == "done" for entry in entries(out).values()) and time.monotonic() < deadline:
            time.sleep(0.02)
        first.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        _, told = process.communicate(timeout=50)
    first.shutdown()
    assert process.returncode == 8, told
    assert "no longer answers; start it again and give the same command" in told.splitlines()[-1]
    second = Cluster(initialize_head=True, head_node_args=NODE)
    ended = run(source, out, model, second.address)
    second.shutdown()
    assert ended.code == 0
    assert ended.lines[0].startswith("kept: ")
    assert len(list(out.glob("prediction_*"))) == CASES


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        ("127.0.0.1:9", 8, "no Ray answers at 127.0.0.1:9 (Connection refused); start one by `ray start --head`"),
        ("ray://here:10001", 2, "--cluster ray://here:10001 is no address of a Ray head; give HOST:PORT, or auto"),
        ("head", 2, "--cluster head is no address of a Ray head"),
    ],
)
def test_an_address_where_no_ray_is(cases, model, tmp_path, address, code, told):
    ended = run(cases, tmp_path, model, address)
    assert ended.code == code
    assert told in ended.last
    assert document(tmp_path)["cases"] == []


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        ("version", 8, "has kits-submit 0.3.0, the run has 9.9; install one version on every node"),
        ("token", 9, "does not see the run's folder; give a folder that all nodes share, or a bucket"),
    ],
)
def test_a_node_that_cannot_take_part(cluster, cases, model, tmp_path, monkeypatch, fault, code, told):
    from kits_submit.batch.cluster import drive

    plain = drive.replace
    change = {"version": {"version": "9.9"}, "token": {"token": "elsewhere"}}[fault]
    monkeypatch.setattr(drive, "replace", lambda work, **fields: plain(work, **(fields | change)))
    ended = run(cases, tmp_path, model, cluster.address)
    assert ended.code == code
    assert told in ended.last


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("Version mismatch: The cluster was started with: Ray: 2.9.0"), "of another version (Version"),
        (ConnectionError("nothing"), "no Ray answers at head:6379 (ConnectionError)"),
    ],
)
def test_why_there_is_no_way_into_a_cluster(error, told):
    from kits_submit.batch.cluster.connect import _no_cluster

    assert told in str(_no_cluster("head:6379", error))


def test_a_node_carries_as_many_workers_as_cores_gpus_and_memory_allow():
    from kits_submit.batch.cluster.connect import Node
    from kits_submit.batch.cluster.needs import ENGINE_BYTES, Share, share_of

    needed = {"small": (1, int(1e9)), "large": (1, int(3e9)), "too large": (1, int(9e12))}
    one = int(3e9 + ENGINE_BYTES)
    assert share_of(Node("a", "a", 16, 0, 64e9), None, needed) == Share(4, 4, 0, one)
    assert share_of(Node("a", "a", 16, 0, 64e9), 2, needed) == Share(8, 2, 0, one)
    assert share_of(Node("a", "a", 16, 0, 8e9), 2, needed) == Share(2, 2, 0, one)
    assert share_of(Node("a", "a", 16, 2, 64e9), None, needed) == Share(2, 8, 1, one)
    assert share_of(Node("a", "a", 1, 0, 2e9), None, needed) == Share(1, 1, 0, int(1e9 + ENGINE_BYTES))
    assert share_of(Node("head", "head", 0, 0, 64e9), None, needed) is None


def test_scoring_on_two_nodes(cluster, cases, serial, tmp_path, monkeypatch, capsys):
    from evaluation.cli import main

    tables = []
    for more in ([], ["--cluster", cluster.address]):
        table = tmp_path / f"{len(tables)}.csv"
        arguments = [
            str(serial[0]),
            str(cases),
            "--protocol",
            "kits23",
            "--missing",
            "skip",
            "--csv",
            str(table),
            *more,
        ]
        monkeypatch.setattr("sys.argv", ["kits-eval", *arguments])
        assert main() == 0
        tables.append((table.read_bytes(), capsys.readouterr()))
    assert tables[0] == tables[1]
    monkeypatch.setattr("sys.argv", ["kits-eval", str(serial[0]), str(cases), "--cluster", "127.0.0.1:9"])
    assert main() == 8


@pytest.mark.slow
def test_a_worker_that_is_killed_and_a_node_that_leaves_lose_nothing(
    cluster, cases, model, serial, tmp_path, monkeypatch
):
    marker, out, log = tmp_path / "killed", tmp_path / "out", tmp_path / "begun"
    monkeypatch.setattr(
        "kits_submit.commands.segment.trust", slow(0.4, deadly="case_00003", marker=str(marker), log=str(log))
    )
    node = cluster.add_node(**NODE)

    def leave() -> None:
        deadline = time.monotonic() + 300
        while len(list(out.glob("prediction_*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    leaver = threading.Thread(target=leave)
    leaver.start()
    ended = run(cases, out, model, cluster.address)
    leaver.join()
    assert marker.exists()
    same_as(serial, out, ended)
    begun = log.read_text().splitlines()
    twice = [case for case in set(begun) if begun.count(case) > 1]
    assert len(set(begun)) == CASES
    assert 1 <= len(twice) <= 2 * IN_FLIGHT, "what two workers had, and no other"
