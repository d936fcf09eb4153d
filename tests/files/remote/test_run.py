"""A run from a bucket into a bucket is the run on disk; what goes wrong there is one line."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import save, write_threshold_model
from tests.faults.conftest import Ended, inside, labels_of, scan

CASES = 3
OUT = "s3://bucket/out/first"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_threshold_model(tmp_path_factory.mktemp("model") / "threshold.onnx")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for number in range(CASES):
        hu = scan((40, 60, 50))
        hu[5:20, 10:50, 10:40] = np.random.default_rng(number).integers(120, 180, (15, 40, 30))
        save(folder / f"case_0000{number}" / "imaging.nii.gz", hu)
        truth = labels_of(hu)
        truth[3, 4] = 1
        save(folder / f"case_0000{number}" / "segmentation.nii.gz", truth)
    return folder


@pytest.fixture(scope="module")
def plain(cases, model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain")
    assert inside(cases, out, "--model", model, "--device", "cpu").code == 0
    return out


@pytest.fixture
def filled(bucket, cases, model):
    bucket.put_folder(cases, "in/cases")
    bucket.put("models/threshold.onnx", model)
    return bucket


def run(source: object = "s3://bucket/in/cases", out: object = OUT, *more: object) -> Ended:
    return inside(source, out, "--model", "s3://bucket/models/threshold.onnx", "--device", "cpu", *more)


def manifest(bucket, prefix: str = "out/first") -> dict:
    return json.loads(bucket.get(f"{prefix}/run.json"))


def test_masks_scores_and_record_are_those_of_a_run_on_disk(filled, plain, server, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    ended = run()
    assert (ended.code, ended.lines) == (0, [])
    assert filled.keys("out") == sorted(f"out/first/{path.name}" for path in plain.iterdir())
    for path in plain.iterdir():
        if path.name != "run.json":
            assert filled.get(f"out/first/{path.name}") == path.read_bytes(), path.name
    ours, theirs = manifest(filled), json.loads((plain / "run.json").read_bytes())
    assert [entry["volume_ml"] for entry in ours["cases"]] == [entry["volume_ml"] for entry in theirs["cases"]]
    text = filled.get("out/first/run.json").decode()
    assert not re.search("KEYKEYKEY|SECRETSECRET|kits-remote|127.0.0.1", text)
    assert list(tmp_path.iterdir()) == [], "no copy is left"


def test_a_run_is_resumed_without_reading_an_image_again(filled, server):
    run()
    server.requests.clear()
    ended = run()
    assert ended.lines[0].startswith(f"kept: {CASES} of {CASES} cases")
    assert server.asked("GET", "imaging.nii.gz") == CASES, "its header, for the label map's grid"
    filled.put("in/cases/case_00001/imaging.nii.gz", filled.get("in/cases/case_00002/imaging.nii.gz"))
    assert run().lines[0].startswith(f"kept: {CASES - 1} of {CASES} cases")


def test_what_a_killed_run_recorded_is_kept(filled, server):
    """Its lines are objects of their own, and nobody has written run.json since the start."""
    run()
    entries = manifest(filled)["cases"]
    for entry in entries[:2]:
        filled.put(f"out/first/run.jsonl.d/{entry['case']}.json", json.dumps(entry).encode() + b"\n")
    filled.put("out/first/run.json", json.dumps(manifest(filled) | {"cases": [], "exit_code": None}).encode())
    assert run().lines[0].startswith(f"kept: 2 of {CASES} cases")
    assert not [key for key in filled.keys("out") if ".jsonl" in key or ".hold" in key]


def test_folder_here_bucket_there(filled, cases, plain, model, tmp_path):
    assert inside(cases, OUT, "--model", model, "--device", "cpu").code == 0
    assert filled.get("out/first/prediction_00001.nii.gz") == (plain / "prediction_00001.nii.gz").read_bytes()
    assert inside(f"file://{cases}", tmp_path / "here", "--model", model, "--device", "cpu").code == 0
    ended = run("s3://bucket/in/cases", tmp_path / "there", "--labels", "s3://bucket/in/cases")
    assert ended.code == 0
    for folder in ("here", "there"):
        assert (tmp_path / folder / "scores.csv").read_bytes() == (plain / "scores.csv").read_bytes()


def test_one_file_of_a_web_server(filled, server, plain, model, tmp_path):
    server.web["/scans/case_00002.nii.gz"] = filled.get("in/cases/case_00002/imaging.nii.gz")
    address = f"{server.url}/scans/case_00002.nii.gz"
    assert inside(address, tmp_path, "--model", model, "--device", "cpu").code == 0
    (mask,) = tmp_path.glob("*.nii.gz")
    assert mask.read_bytes() == (plain / "prediction_00002.nii.gz").read_bytes()
    told = "no such file; a web server's folders cannot be listed: give a file"
    assert inside(f"{server.url}/scans", tmp_path, "--model", model).last.endswith(told)


def test_shards_in_a_bucket_are_merged_there(filled, plain, tmp_path):
    assert {run("s3://bucket/in/cases", OUT, "--shard", f"{index}/2").code for index in (1, 2)} == {0}
    assert "out/first/run.2-of-2.json" in filled.keys("out")
    assert inside(OUT, command="merge").code == 0
    assert filled.get("out/first/scores.csv") == (plain / "scores.csv").read_bytes()
    assert len(manifest(filled)["cases"]) == CASES
    assert inside(OUT, "--into", tmp_path, command="merge").code == 0
    assert (tmp_path / "prediction_00001.nii.gz").read_bytes() == (plain / "prediction_00001.nii.gz").read_bytes()


def test_a_bucket_that_answers_503_is_asked_again(filled, server, plain):
    asked: dict[str, int] = {}

    def twice(method: str, path: str) -> int | None:
        asked[f"{method} {path}"] = asked.get(f"{method} {path}", 0) + 1
        return 503 if path.endswith((".nii.gz", "run.json")) and asked[f"{method} {path}"] in (1, 3) else None

    server.fault = twice
    assert run().code == 0
    assert filled.get("out/first/scores.csv") == (plain / "scores.csv").read_bytes()


def test_a_read_that_is_slow_is_begun_again(filled, server, monkeypatch):
    monkeypatch.setenv("KITS_REMOTE_SECONDS", "0.5")
    server.slow = [2.0, 0.0, 0.0]
    start = time.perf_counter()
    assert run().code == 0
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
    ("ending", "status", "code", "told"),
    [
        (
            "case_00001/imaging.nii.gz",
            404,
            3,
            "s3://bucket/in/cases/case_00001/imaging.nii.gz: no such object or bucket",
        ),
        ("case_00001/imaging.nii.gz", 403, 3, "the credentials do not allow it (InvalidAccessKeyId)"),
        ("prediction_00001.nii.gz", 403, 9, "s3://bucket/out/first/prediction_00001.nii.gz: the credentials do not"),
        ("case_00001/imaging.nii.gz", 400, 3, "the store does not answer as it should"),
    ],
)
def test_a_case_fails_alone(filled, server, ending, status, code, told):
    server.fault = lambda method, path: status if method != "HEAD" and path.endswith(ending) else None
    ended = run()
    assert ended.code == code
    assert told in ended.last
    assert "SECRET" not in "".join(ended.lines)
    server.fault = lambda method, path: None
    assert [entry["status"] for entry in manifest(filled)["cases"]] == ["done", "failed", "done"]
    assert "out/first/prediction_00001.nii.gz" not in filled.keys("out")
    assert run().code == 0


def test_an_object_that_changes_during_the_run_fails_alone(filled, server):
    key = "in/cases/case_00001/imaging.nii.gz"
    other = filled.get("in/cases/case_00002/imaging.nii.gz")
    done: list[str] = []

    def change(method: str, path: str) -> None:
        if path.endswith("case_00000/imaging.nii.gz") and method == "GET" and not done:
            done.append(path)
            filled.put(key, other)

    server.before = change
    ended = run("s3://bucket/in/cases", OUT, "--no-memory-check")
    assert ended.code == 4
    told = "the object changed while it was read; run again when nobody writes it"
    assert ended.last == f"error: case_00001: s3://bucket/{key}: {told}"
    assert run().code == 0


@pytest.mark.parametrize(
    ("source", "out", "code", "told"),
    [
        ("s3://bucket/in/nothing", OUT, 3, "s3://bucket/in/nothing: no such object or folder; check the address"),
        ("s3://nobucket/in", OUT, 3, "no such object or bucket"),
        ("s3://", OUT, 3, "no bucket or host in s3://"),
        ("s3://key:secret@bucket/in", OUT, 3, "credentials in a s3:// address; give them as the environment does"),
        ("s3://bucket/in/cases", "s3://nobucket/out", 9, "no such object or bucket"),
        ("s3://bucket/in/cases", "https://host/out", 9, "a web server is not written to; give a bucket or a folder"),
        ("https://host/x.nii.gz?sig=secret", OUT, 3, "a query in a https:// address"),
    ],
)
def test_what_cannot_be_reached_is_told(filled, source, out, code, told):
    ended = run(source, out)
    assert (ended.code, len(ended.lines)) == (code, 1)
    assert told in ended.last
    assert "secret" not in ended.last


def test_two_runs_into_one_folder_of_a_bucket(filled, monkeypatch):
    from kits_submit.files.parts import Part
    from kits_submit.files.remote import lease
    from kits_submit.files.remote.reach import Reach

    with Reach() as reach:
        reach.write(Path(OUT))
        assert (
            run().last == "error: s3://bucket/out/first: another run is writing into it; wait, or give another folder"
        )
        assert run("s3://bucket/in/cases", OUT, "--shard", "1/2").code == 9
    with Reach() as reach:
        reach.write(Path(OUT), Part(1, 2))
        assert run("s3://bucket/in/cases", OUT, "--shard", "1/2").code == 9
        assert run("s3://bucket/in/cases", OUT, "--shard", "2/2").code == 0
        assert run().code == 9
    filled.put("out/first/run.hold", b"a run that was killed")
    monkeypatch.setattr(lease, "STALE_SECONDS", -1.0)
    assert run().code == 0


def test_the_extra_that_is_not_there_is_named(filled, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    assert run().last.endswith("buckets and URLs need obstore; pip install 'kits-submit[remote]'")


@pytest.mark.parametrize("jobs", [1, 2])
def test_scoring_reads_buckets(filled, plain, tmp_path, capfd, jobs):
    import sys

    from evaluation.cli import main

    run()
    table = tmp_path / "scores.csv"
    arguments = [OUT, "s3://bucket/in/cases", "--protocol", "paper", "--csv", str(table), "--jobs", str(jobs)]
    before = sys.argv
    sys.argv = ["kits-eval", *arguments]
    try:
        assert main() == 0
    finally:
        sys.argv = before
    assert table.read_bytes() == (plain / "scores.csv").read_bytes()


def test_a_reader_reads_what_is_there(filled, server):
    from kits_submit.files.remote import reader
    from kits_submit.files.remote.reach import Reach

    content = os.urandom(300_000)
    filled.put("in/blob/x.nii.gz", content)
    with Reach() as reach, pytest.MonkeyPatch.context() as patch:
        from kits_submit.mounts import mount_of

        patch.setattr(reader, "BLOCK_BYTES", 50_000)
        path = reach.read(Path("s3://bucket/in/blob")) / "x.nii.gz"
        assert path.stat().st_size == len(content)
        mount = mount_of(path)
        assert mount is not None
        with mount.open(path) as stream:
            assert stream.read(10) == content[:10]
            stream.seek(0)
            assert stream.read() == content
            stream.seek(-5, os.SEEK_END)
            assert stream.read() == content[-5:]
