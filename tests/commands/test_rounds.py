"""What a round takes and what a protocol knows: told before anything is computed, or in a line of its own."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from kits_submit.batch.outcome import CaseResult
from kits_submit.commands.protocol import contradictions, protocol_for, refuse_unknown_labels, round_for
from kits_submit.errors import InputError, LabelError
from kits_submit.files.rounds import ROUNDS, round_of
from kits_submit.files.upload import write_upload
from kits_submit.labels import KITS19, KITS23, LabelSet
from kits_submit.recipe import METADATA_KEY
from kits_submit.regions import Regions
from tests.commands.test_run import run
from tests.conftest import recipe, save, write_threshold_model

MODEL = Path("m.onnx")


def test_the_protocol_follows_the_labels():
    assert [protocol_for(labels, None) for labels in (KITS19, KITS23)] == ["paper", "kits23"]
    assert protocol_for(KITS23, "all") == "all"
    for labels, protocol in ((KITS19, "paper"), (KITS19, "kits23"), (KITS23, "kits23"), (KITS23, "all")):
        refuse_unknown_labels(labels, protocol, MODEL)


@pytest.mark.parametrize(
    ("names", "protocol", "told"),
    [
        (
            ("kidney", "tumor", "cyst"),
            "kits19",
            "hold 3 cyst, which protocol kits19 does not know; score",
        ),
        (("tumor", "kidney"), "paper", "labels are 0 background, 1 tumor, 2 kidney; KiTS scores kidney as 1"),
        (("kidney", "cyst", "tumor"), "kits23", "KiTS scores tumor as 2"),
        (("kidney", "tumor", "cyst", "liver"), "kits23", "hold 4 liver, which protocol kits23 does not know; run it"),
    ],
)
def test_labels_that_the_protocol_does_not_know(names, protocol, told):
    with pytest.raises(LabelError, match=told):
        refuse_unknown_labels(LabelSet.of(("background", *names)), protocol, MODEL)


def test_a_round_is_the_labels_own_or_the_one_asked_for():
    assert [round_for(labels, None, MODEL).name for labels in (KITS19, KITS23)] == ["KiTS19", "KiTS23"]
    assert round_for(KITS19, "kits23", MODEL).name == "KiTS23"
    with pytest.raises(LabelError, match="KiTS19 takes 3 for background"):
        round_for(KITS23, "kits19", MODEL)
    with pytest.raises(InputError, match="round is 'kits22', allowed: kits19, kits23"):
        round_of("kits22")


def test_kits23s_upload_has_its_names(tmp_path):
    judged = ROUNDS["kits23"]
    assert (len(judged.cases), judged.cases[0], judged.cases[-1]) == (110, "case_00589", "case_00698")
    for case in judged.cases:
        (tmp_path / f"prediction_{case[-5:]}.nii.gz").write_bytes(case.encode())
    with zipfile.ZipFile(write_upload(tmp_path, set(), judged)) as archive:
        assert archive.namelist() == [f"{case}.nii.gz" for case in judged.cases]
        assert archive.read("case_00600.nii.gz") == b"case_00600"
    with pytest.raises(InputError, match=r"1 of KiTS23's 110 masks are missing: case_00600\.nii\.gz; give all"):
        write_upload(tmp_path, {"case_00600"}, judged)
    assert not (tmp_path / "predictions.zip").exists()


def test_contradictions_are_a_line_a_case():
    results = [CaseResult("case_00001", contradicted_ml=0.4), CaseResult("case_00002", contradicted_ml=3.21)]
    strict = Regions.of(KITS23)
    (line,) = contradictions(results, strict)
    assert line.startswith("case_00002: regions contradict each other: 3.2 mL are in an inner region")
    assert line.endswith("it is not counted")
    (line,) = contradictions(results, Regions(strict.parts, strict=False))
    assert line.endswith("it is counted all the same")
    assert not list(contradictions(results, None))


def test_a_run_tells_that_its_regions_contradict_each_other(tmp_path, capsys):
    """Logits v - 1, v - 2 and -v of v = HU / 100: kidney and mass above 100 HU, mass above 200, tumor below 0."""
    metadata = {METADATA_KEY: recipe(labels=KITS23, regions=Regions.of(KITS23)).to_json()}
    model = write_threshold_model(tmp_path / "m.onnx", metadata, weights=[1, 1, -1], biases=[-1, -2, 0])
    for inner, told in ((slice(6, 10), False), (slice(4, 16), True)):  # of 64 and 576 voxels of 1.92 mm^3: 0.1, 1.1 mL
        hu = np.full((8, 20, 20), 50.0)
        hu[2:6, 2:18, 2:18], hu[2:6, inner, inner] = 150, -50
        save(tmp_path / "in" / "case_00000.nii.gz", hu)
        assert run("run", tmp_path / "in", tmp_path / "out", "--model", model, "--device", "cpu") == 0
        captured = capsys.readouterr()
        assert ("case_00000: regions contradict each other" in captured.err + captured.out) is told


def test_kits21s_first_container_wants_masks_under_the_images_names(tmp_path, monkeypatch):
    save(tmp_path / "input" / "case_00301.nii.gz", np.zeros((8, 8, 8), np.int16))
    model = write_threshold_model(tmp_path / "m.onnx", {METADATA_KEY: recipe().to_json()})
    monkeypatch.setenv("KITS_NAMES", "source")
    assert run("run", tmp_path / "input", tmp_path / "output", "--model", model, "--device", "cpu") == 0
    assert (tmp_path / "output" / "case_00301.nii.gz").is_file()
