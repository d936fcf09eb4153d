"""Nothing of the user's is lost, nothing is left out without a word, and nobody's reading of the streams matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kits_submit.batch.ledger import Ledger
from kits_submit.batch.outcome import CaseResult
from tests.conftest import ROOT, save
from tests.faults.conftest import clean, command, files, inside, labels_of, manifest, mask, rows, scan
from tests.files.test_metaimage import save_mha


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def link(path: Path, to: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)


@pytest.mark.parametrize("how", ["its own folder", "a symbolic link", "a hard link", "a label map"])
def test_no_input_is_written_over(source, tmp_path, model, how):
    image = save(source / "prediction_00007.nii.gz", scan())
    save(source / "case_00008.nii.gz", scan())
    given, out = {"its own folder": (image, source), "the image alone": (image, source)}.get(
        how, (source, tmp_path / "o")
    )
    if how == "a symbolic link":
        link(out / "prediction_00008.nii.gz", source / "case_00008.nii.gz")
    elif how == "a hard link":
        out.mkdir()
        os.link(source / "case_00008.nii.gz", out / "prediction_00008.nii.gz")
    elif how == "a label map":
        save(out / "prediction_00008.nii.gz", labels_of(scan()))
    before, held = contents(source), contents(out)
    labels = ("--labels", out) if how == "a label map" else ()
    ended = inside(given, out, "--model", model, "--device", "cpu", *labels)
    assert ended.code == 9
    assert "and a mask would be written over it; give another OUTPUT" in ended.last
    assert contents(source) == before
    assert contents(out) == held


def test_two_cases_of_one_mask_are_refused_before_anything_is_computed(source, tmp_path, model):
    save(source / "1234567890.nii.gz", scan())
    save(source / "case_1234567890.nii.gz", scan())
    ended = inside(source, tmp_path / "out", "--model", model)
    assert (ended.code, len(ended.lines)) == (3, 1)
    assert "would both be prediction_1234567890.nii.gz; rename one of the two" in ended.last
    assert not (tmp_path / "out").exists()


def test_a_name_too_long_for_its_mask_fails_alone_and_the_longest_does_not(source, tmp_path, model):
    save(source / f"{'l' * 245}.nii.gz", scan())
    save(source / f"{'m' * 237}.nii.gz", scan())
    ended = inside(source, tmp_path / "out", "--model", model, "--device", "cpu")
    assert ended.code == 9
    assert "the mask's name is 8 bytes longer than a file system takes (255); rename the image" in ended.last
    assert files(tmp_path / "out") == [f"prediction_{'m' * 237}.nii.gz", "run.json"]


@pytest.mark.parametrize("first", [(), ("--on-failure", "background")])
def test_no_mask_of_an_earlier_run_stands_for_a_case_that_fails(source, tmp_path, model, first):
    out = tmp_path / "out"
    save(source / "case_00001.nii.gz", scan())
    save(source / "case_00002.nii.gz", scan())
    if first:
        nan = scan().astype(np.float32)
        nan[0, 0, 0] = np.nan
        save(source / "case_00001.nii.gz", nan)
    assert inside(source, out, "--model", model, "--device", "cpu", "--pictures", *first).code == 0
    assert (out / "case_00001.png").exists() == (not first)
    (source / "case_00001.nii.gz").write_bytes(b"damaged")
    assert inside(source, out, "--model", model, "--device", "cpu").code == 4
    assert files(out) == ["case_00002.png", "prediction_00002.nii.gz", "run.json"]


def test_a_mask_that_no_run_of_ours_wrote_is_not_removed(source, tmp_path, model):
    save(source / "case_00002.nii.gz", scan())
    (source / "case_00001.nii.gz").write_bytes(b"damaged")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prediction_00001.nii.gz").write_bytes(b"somebody's")
    assert inside(source, tmp_path / "out", "--model", model, "--device", "cpu").code == 4
    assert (tmp_path / "out" / "prediction_00001.nii.gz").read_bytes() == b"somebody's"


STREAMS = ["2>&-", "2>/dev/full", "2> >(head -n 1 >/dev/null)", ">&-", ">/dev/full", "> >(true)", ">&- 2>&- <&-"]


@pytest.mark.parametrize("streams", STREAMS)
def test_every_case_is_done_whoever_reads(source, tmp_path, model, streams):
    for number in range(3):
        (source / f"case_0000{number}.nii.gz").write_bytes(b"damaged")
    save(source / "case_00009.nii.gz", scan())
    arguments = command(source, tmp_path / "out", "--model", model, "--device", "cpu")
    done = subprocess.run(
        ["bash", "-c", f'"$@" {streams}', "bash", *arguments], env=clean(), check=False, timeout=60, capture_output=True
    )
    assert done.returncode == 4
    assert b"Exception" not in done.stderr
    assert np.array_equal(mask(tmp_path / "out", "prediction_00009.nii.gz"), labels_of(scan()))
    assert manifest(tmp_path / "out")["exit_code"] == 4


NAMES = ["\N{GRINNING FACE}", "a\x1b]0;title\x07\x1b[31mred", "[red]x[bold]", "[link=file:x]y", "two\nlines"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_name_is_told_and_never_interpreted(source, tmp_path, model, name, encoding):
    (source / "[bold]damaged\n\x1b[5m.nii.gz").write_bytes(b"damaged")
    save(source / "x.nii.gz", scan()).rename(source / f"{name}.nii.gz")
    done = subprocess.run(
        command(source, tmp_path / "out", "--model", model, "--device", "cpu"), capture_output=True, check=False,
        timeout=60, env={**clean(), "PYTHONIOENCODING": encoding, "FORCE_COLOR": "1", "COLUMNS": "150"},
    )  # fmt: skip
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 2
    assert b"\x1b" not in done.stderr
    assert b"\x1b[5m" not in done.stdout
    assert b"\x1b]" not in done.stdout
    shown = name.replace("\x1b", "\\x1b").replace("\x07", "\\x07").replace("\n", "\\n")
    assert shown.encode(encoding, "backslashreplace") in done.stdout
    assert b"[bold]damaged\\n\\x1b[5m" in done.stderr


def test_undecodable_bytes_in_a_name(source, tmp_path, model):
    save(source / "x.nii.gz", scan()).rename(os.fsdecode(os.fsencode(source) + b"/caf\xe9.nii.gz"))
    ended = inside(source, tmp_path / "out", "--model", model, "--device", "cpu")
    assert (ended.code, ended.lines) == (0, [])
    assert "caf\\udce9" in ended.out
    assert b"prediction_caf\xe9.nii.gz" in os.listdir(os.fsencode(tmp_path / "out"))  # noqa: PTH208 - bytes


def test_what_is_taken_for_no_case_is_counted_and_named(source, tmp_path, model):
    save(source / "case_00001.nii.gz", scan())
    save(source / "case_00002.nii.gz", scan()).rename(source / "case_00002.NII.GZ")
    for name in ("a.nrrd", "b.mhd", "c.hdr", "c.img", "case_00003", "notes.txt", "kits.json"):
        (source / name).write_bytes(b"x")
    (source / "case_00004.nii.gz").mkdir()
    link(source / "case_00005", source / "nowhere")
    ended = inside(source, tmp_path / "out", "--model", model, "--device", "cpu")
    assert ended.code == 0
    told = "7 in {} taken for no case: a.nrrd, b.mhd, c.hdr, c.img, case_00003 and 2 more"
    assert [line for line in ended.lines if "taken for no case" in line] == [f"note: {told.format(source)}"]
    assert sorted(rows(tmp_path / "out")) == ["case_00001", "case_00002"]


def test_hidden_folders_and_the_outputs_own_are_no_cases(source, model):
    save(source / "data" / "case_00001" / "imaging.nii.gz", scan())
    save(source / ".Trash" / "imaging.nii.gz", scan())
    save(source / "data" / "._case_00002" / "imaging.nii.gz", scan())
    save(source / "data" / "case_00003" / "imaging.nii.gz", scan())
    for _ in range(2):
        ended = inside(source, source, "--model", model, "--device", "cpu", "--fresh")
        assert (ended.code, ended.lines) == (0, [])
        assert sorted(rows(source)) == ["case_00001", "case_00003"]
    out = source / "data" / "case_00009"
    for _ in range(2):
        assert inside(source, out, "--model", model, "--device", "cpu", "--fresh").code == 0
        assert sorted(rows(out)) == ["case_00001", "case_00003"]


@pytest.mark.parametrize("beside", ["case_00001-label", "case_00001_0000_mask", "case_00001_0001"])
def test_what_belongs_to_an_image_is_no_case(source, tmp_path, model, beside):
    save(source / ("case_00001_0000.nii.gz" if "_000" in beside else "case_00001.nii.gz"), scan())
    save(source / f"{beside}.nii.gz", labels_of(scan()))
    ended = inside(source, tmp_path / "out", "--model", model, "--device", "cpu")
    assert (ended.code, sorted(rows(tmp_path / "out"))) == (0, ["case_00001"])
    assert f"1 in {source} taken for no case: {beside}.nii.gz" in ended.last


def test_a_label_map_called_as_others_call_it_is_scored_against(source, tmp_path, model):
    save(source / "case_00001.nii.gz", scan())
    save(source / "case_00001_seg.nii.gz", labels_of(scan()))
    ended = inside(source, tmp_path / "out", "--model", model, "--device", "cpu")
    assert (ended.code, ended.lines, sorted(rows(tmp_path / "out"))) == (0, [], ["case_00001"])
    assert (tmp_path / "out" / "scores.csv").is_file()


ENTRIES: list[Any] = [{"status": None}, {"volume_ml": None}, {"seconds": {}}, {"shape": [1]}, {"notes": 3},
                                   {"volume_ml": {"kidney": "much"}}, {"exit_code": "0"}, "absent"]  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_that_lacks_something_is_done_again(source, tmp_path, model, entry):
    save(source / "case_00001.nii.gz", scan())
    arguments = (source, tmp_path / "out", "--model", model, "--device", "cpu")
    assert inside(*arguments).code == 0
    document = manifest(tmp_path / "out")
    if entry == "absent":
        del document["cases"][0]["seconds"]
    else:
        document["cases"][0] |= entry
    (tmp_path / "out" / "run.json").write_text(json.dumps(document))
    ended = inside(*arguments)
    assert (ended.code, ended.lines) == (0, [])
    assert manifest(tmp_path / "out")["cases"][0]["volume_ml"]["kidney"] > 0


@pytest.mark.parametrize("name", ["scores.csv", "scores.json", "run.json", "predictions.zip"])
def test_a_file_of_somebody_elses_is_never_replaced(source, tmp_path, model, name):
    save(source / "case_00001" / "imaging.nii.gz", scan())
    save(source / "case_00001" / "segmentation.nii.gz", labels_of(scan()))
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}")
    upload = ("--zip",) if name.endswith(".zip") else ()
    ended = inside(source, out, "--model", model, "--device", "cpu", *upload)
    assert ended.code == 9
    assert (
        ended.last
        == f"error: {out / name}: it is there, and no run of this program wrote it; move it, or give another folder"
    )
    assert contents(out) == {name: b"{}"}


def test_scores_that_a_run_did_not_write_stay(source, tmp_path, model):
    save(source / "case_00001.nii.gz", scan())
    arguments = (source, tmp_path / "out", "--model", model, "--device", "cpu")
    assert inside(*arguments).code == 0
    (tmp_path / "out" / "scores.csv").write_text("mine")
    assert inside(*arguments).code == 0
    assert (tmp_path / "out" / "scores.csv").read_text() == "mine"


@pytest.mark.parametrize("empty", [("", "out"), ("in", "")])
def test_an_empty_argument_is_no_folder(tmp_path, empty):
    ended = inside(*empty)
    assert (ended.code, ended.lines) == (
        2, ["error: an argument is empty; an unset variable? give a path, or . for this folder"])  # fmt: skip


def test_what_a_killed_run_left_beside_goes(source, tmp_path, model):
    save_mha(source / "scan.mha", scan())
    out = tmp_path / "out"
    out.mkdir()
    for name in ("prediction_scan.mha", "scan.png", "predictions.zip", "run.json", "scores.csv"):
        (out / f".{name}.abcdefgh.part").write_bytes(b"half")
    (out / ".mine").write_bytes(b"kept")
    assert inside(source, out, "--model", model, "--device", "cpu").code == 0
    assert files(out) == [".mine", "prediction_scan.mha", "run.json"]


def test_a_thousand_cases_are_recorded_in_linear_time(tmp_path, loaded):
    """Appended one by one: ten times the cases take about ten times as long, not a hundred times."""
    from kits_submit.batch.manifest import Provenance
    from kits_submit.engine.select import select_engine
    from kits_submit.files.cases import Case
    from kits_submit.inference.patches import PatchPlan

    made_by = Provenance(loaded, select_engine("cpu", loaded), PatchPlan.of(loaded.recipe))
    cases = [Case(f"case_{number:05d}", None) for number in range(3000)]
    with Ledger(cases, tmp_path, made_by) as ledger:
        written = []
        for case in cases:
            ledger.case_ended(CaseResult(case.case_id, "failed", error="no image", exit_code=3))
            written.append((tmp_path / "run.json").stat().st_ino)
    assert len(set(written)) == 1
    assert len(manifest(tmp_path)["cases"]) == 3000
    assert files(tmp_path) == ["run.json"]


def test_a_signal_that_a_library_turns_into_another_error_is_told_as_the_signal():
    """As numpy does, which is being imported in a run's first quarter of a second; in a process of its own."""
    code = """
import os, signal, sys, time
from kits_submit.console import run_guarded

def body():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except BaseException:
        raise ImportError("numpy") from None
    return 0

sys.exit(run_guarded(body, debug=False))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.startswith("error: stopped by SIGINT; what is written is whole")


EVAL = [("", 0), (">&-", 0), (">/dev/full", 9), ("2>&-", 0), (">&- 2>&-", 0)]


@pytest.mark.parametrize(("streams", "code"), EVAL)
def test_scores_whoever_reads(tmp_path, streams, code):
    """What kits-eval prints is what it is asked for: a full stdout is a failure, a closed one is not."""
    for side in ("p", "l"):
        save(tmp_path / side / "prediction_00001.nii.gz", labels_of(scan()))
    script = "import sys; from evaluation.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", script, str(tmp_path / "p"), str(tmp_path / "l"), "--protocol", "paper"]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {streams}', "bash", *words, "--csv", str(tmp_path / "s.csv")],
        cwd=ROOT, check=False, timeout=120, capture_output=True,
    )  # fmt: skip
    assert done.returncode == code
    assert b"Exception" not in done.stderr
    assert (tmp_path / "s.csv").exists()


def test_a_zip_file_is_named_not_where_it_was_unpacked(tmp_path, capsys, monkeypatch):
    import zipfile

    from evaluation.cli import main as kits_eval

    save(tmp_path / "l" / "case_00001.nii.gz", labels_of(scan()))
    wrong = save(tmp_path / "prediction_00001.nii.gz", labels_of(scan())[:3])
    with zipfile.ZipFile(tmp_path / "predictions.zip", "w") as archive:
        archive.write(wrong, wrong.name)
    monkeypatch.setattr(sys, "argv", ["kits-eval", str(tmp_path / "predictions.zip"), str(tmp_path / "l")])
    assert kits_eval() == 5
    assert f"{tmp_path / 'predictions.zip'}/prediction_00001.nii.gz: shape" in capsys.readouterr().err


def test_scores_of_sheared_masks_have_their_volume(tmp_path):
    from evaluation.masks.reading import read_pair

    leaning = np.array([[0, 0, -0.8, 0], [0.75, -0.8, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1.0]])
    path = save(tmp_path / "a.nii.gz", labels_of(scan()), leaning)
    assert read_pair(path, path).voxel_ml == pytest.approx(3 * 0.8 * 0.8 / 1000)
