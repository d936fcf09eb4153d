"""A run in shards and merged is the run in one: masks, scores, record, exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import save, write_threshold_model
from tests.faults.conftest import Ended, inside, labels_of, scan

CASES = 7
SEEN_ONLY_ONCE = ("seconds", "shards")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_threshold_model(tmp_path_factory.mktemp("model") / "threshold.onnx")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of several sizes; one without a label, one whose label lies on another grid, one that cannot be read."""
    folder = tmp_path_factory.mktemp("cases")
    for number in range(CASES):
        hu = scan((6 + 3 * number, 10, 8), tumor=number != 3)
        save(folder / f"case_0000{number}" / "imaging.nii.gz", hu)
        truth = labels_of(hu)
        truth[2, 3, :number] = 2
        if number != 1:
            save(folder / f"case_0000{number}" / "segmentation.nii.gz", truth[:-1] if number == 2 else truth)
    broken = folder / "case_00004" / "imaging.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-9])
    return folder


@pytest.fixture(scope="module")
def whole(cases, model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    out = tmp_path_factory.mktemp("whole")
    return out, inside(cases, out, "--model", model, "--device", "cpu").code


def shard(cases: Path, out: Path, model: Path, text: str, *more: object) -> Ended:
    return inside(cases, out, "--model", model, "--device", "cpu", "--shard", text, *more)


def merge(*arguments: object) -> Ended:
    return inside(*arguments, command="merge")


def timeless(folder: Path) -> dict[str, object]:
    document = json.loads((folder / "run.json").read_bytes())
    for entry in document["cases"]:
        for name in ("started", "ended", "seconds", "wall_seconds", "peak_mb"):
            entry.pop(name, None)
    return {name: value for name, value in document.items() if name not in SEEN_ONLY_ONCE}


@pytest.mark.parametrize(("count", "own_folders"), [(2, False), (3, True), (9, False)])
def test_shards_merged_are_the_whole_run(cases, model, whole, tmp_path, count, own_folders):
    outs = [tmp_path / (str(index) if own_folders else "out") for index in range(1, count + 1)]
    codes = {shard(cases, out, model, f"{i}/{count}").code for i, out in enumerate(outs, 1)}
    into = tmp_path / ("all" if own_folders else "out")
    ended = merge(*dict.fromkeys(outs), *(("--into", into) if own_folders else ()))

    expected, code = whole
    assert code in codes | {10}
    assert ended.code == code
    assert ended.lines[-1].startswith("error: ")
    assert timeless(into) == timeless(expected)
    for path in expected.iterdir():
        if path.name != "run.json":
            assert (into / path.name).read_bytes() == path.read_bytes(), path.name
    shards = json.loads((into / "run.json").read_bytes())["shards"]
    assert [one["index"] for one in shards] == list(range(1, count + 1))


def test_a_merged_run_is_resumed_by_a_whole_one(cases, model, tmp_path):
    for text in ("1/2", "2/2"):
        shard(cases, tmp_path, model, text)
    merge(tmp_path)
    ended = inside(cases, tmp_path, "--model", model, "--device", "cpu")
    assert ended.lines[0].startswith("kept: 6 of 7 cases")
    assert sorted(path.name for path in tmp_path.glob("run*")) == ["run.json"]


def test_a_shard_is_resumed_by_the_same_command_and_by_another_dealing(cases, model, tmp_path):
    shard(cases, tmp_path, model, "1/2")
    again = shard(cases, tmp_path, model, "1/2")
    assert any(line.startswith("kept: ") for line in again.lines)
    assert not list(tmp_path.glob("*.jsonl"))
    kept = [shard(cases, tmp_path, model, f"{index}/3").lines for index in (1, 2, 3)]
    assert sum(line.startswith("kept: ") for lines in kept for line in lines) >= 2


def test_what_cannot_be_merged_is_told(cases, model, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    assert merge(tmp_path / "empty").last.endswith("no shard's run.I-of-N.json in it; run its shards first")
    shard(cases, out, model, "1/3")
    assert merge(out).last == f"error: {out}: of 3 shards, missing: 2, 3; run them"
    shard(cases, out, model, "3/3")
    shard(cases, out, model, "2/3", "--hu-offset", "1")
    ended = merge(out)
    assert ended.code == 3
    assert "shard 2/3 is of another model or other options than shard 1/3" in ended.last
    shard(cases, out, model, "2/3")
    record = out / "run.2-of-3.json"
    document = json.loads(record.read_bytes())
    record.write_text(json.dumps(document | {"exit_code": None}))
    assert "shard 2/3 has not ended; run it again" in merge(out).last
    record.write_text(json.dumps(document | {"shard": document["shard"] | {"listing": "other"}}))
    assert "shard 2/3 is of another INPUT than shard 1/3" in merge(out).last
    record.write_text("{")
    assert merge(out).last == f"error: {record}: no record of a shard; move it away, or run that shard again"
    record.write_text(json.dumps(document))
    assert "shard 1 is there twice" in merge(out, out, "--into", tmp_path / "all").last
    assert merge(out, out).last == "error: 2 folders, and no --into; say where the whole goes: --into DIR"
    assert merge(out, out).code == 2


def test_shards_share_a_folder_with_each_other_alone(cases, model, tmp_path):
    from kits_submit.errors import OutputError
    from kits_submit.files.output import output_folder
    from kits_submit.files.parts import Part

    with output_folder(tmp_path, part=Part(1, 3)):
        assert shard(cases, tmp_path, model, "2/3").code != 9
        assert shard(cases, tmp_path, model, "1/3").last.endswith(
            "another run of shard 1/3 is writing into it; wait, or give another folder"
        )
        with pytest.raises(OutputError, match="another run is writing into it"), output_folder(tmp_path):
            pass


def test_a_page_or_an_upload_is_of_all_cases(cases, model, tmp_path):
    ended = shard(cases, tmp_path, model, "1/2", "--report")
    assert ended.code == 2
    assert "--shard with --report or --zip, which are of all cases; merge the shards first" in ended.last
