"""Mutated headers and files, seeded: each is segmented or told in one line, without a traceback, hang or stray file.

The 2,000 go through `run_cases` in this process, a hundred more through the entrypoint. `make fuzz` does FUZZ of them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from isal import igzip

from kits_submit.batch.journal import entries
from kits_submit.batch.outcome import CaseResult, result_of_entry
from kits_submit.batch.runner import run_cases
from kits_submit.engine.select import Selection
from kits_submit.errors import GeometryError, ModelError, VolumeError
from kits_submit.files.cases import Case, find_cases
from kits_submit.files.volume import read_labels
from kits_submit.labels import KITS19
from kits_submit.recipe import Recipe
from kits_submit.report.tables import case_table
from tests.conftest import kits_affine, recipe, save
from tests.faults.conftest import drive, files, manifest, scan
from tests.files.test_metaimage import save_mha

MUTATIONS = int(os.environ.get("FUZZ", "2000"))
SEED = int(os.environ.get("SEED", "2019"))
BATCH = 200
ODD = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31))
ODD_FLOATS = (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-30, 1e30, 1e38, 300.0, 1e-3)
NUMBERS = {"i2": (">h", "<h"), "f4": (">f", "<f"), "i4": (">i", "<i"), "f8": (">d", "<d"), "i8": (">q", "<q")}
OBLIQUE = np.array([[0, 0.4, -0.7, 0], [1.5, -0.6, -0.35, 5], [-2.6, -0.35, -0.2, 9], [0, 0, 0, 1.0]])  # by 30 degrees
Mutator = Callable[[np.random.Generator, bytearray, int], bytearray]


class Threshold:
    """The threshold network as an engine, fast enough for thousands of cases."""

    name, device, batch_voxels = "numpy", "CPU", 1 << 18

    def run(self, batch: np.ndarray, _: object = None, /) -> np.ndarray:
        return np.concatenate([np.zeros_like(batch), batch - 1, 2 * batch - 3], axis=1)


def flip_bits(rng: np.random.Generator, content: bytearray, header: int) -> bytearray:
    for place in rng.integers(0, len(content) if rng.random() < 0.5 else header, rng.integers(1, 9)):
        content[place] ^= 1 << int(rng.integers(8))
    return content


def odd_number(rng: np.random.Generator, content: bytearray, header: int) -> bytearray:
    """A field of the header becomes zero, negative, huge, NaN or infinite."""
    kind = str(rng.choice(list(NUMBERS)))
    how = NUMBERS[kind][int(rng.integers(2))]
    size = struct.calcsize(how)
    place = int(rng.integers(0, max(1, (header - size) // 2))) * 2
    value = float(rng.choice(ODD_FLOATS)) if kind[0] == "f" else int(rng.choice(ODD))
    whole = 1 << (8 * size - 1)
    content[place : place + size] = struct.pack(how, value if kind[0] == "f" else (value + whole) % (2 * whole) - whole)
    return content


def cut(rng: np.random.Generator, content: bytearray, header: int) -> bytearray:
    return content[: int(rng.integers(0, len(content)))]


def insert(rng: np.random.Generator, content: bytearray, header: int) -> bytearray:
    place = int(rng.integers(0, header))
    return content[:place] + rng.bytes(int(rng.integers(1, 20))) + content[place:]


def overwrite(rng: np.random.Generator, content: bytearray, header: int) -> bytearray:
    place, length = int(rng.integers(0, header)), int(rng.integers(1, 40))
    content[place : place + length] = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    return content


def append(rng: np.random.Generator, content: bytearray, header: int) -> bytearray:
    return content + rng.bytes(int(rng.integers(1, 100)))


MUTATORS: tuple[Mutator, ...] = (flip_bits, odd_number, odd_number, cut, insert, overwrite, append)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes, int]]:
    """(suffix, content, bytes of header) of good files of every kind that is read."""
    folder = tmp_path_factory.mktemp("originals")
    save(folder / "a.nii", scan())
    nib.save(nib.Nifti2Image(scan(), kits_affine()), folder / "b.nii")
    big = nib.Nifti1Image(scan().astype(">f4"), kits_affine())
    nib.save(nib.Nifti1Image(scan().astype(">f4"), kits_affine(), big.header.as_byteswapped(">")), folder / "c.nii")
    save(folder / "f.nii", scan(), OBLIQUE)
    save_mha(folder / "d.mha", scan())
    save_mha(folder / "e.mha", scan(), compress=False)
    contents = [(path.suffix, path.read_bytes()) for path in sorted(folder.iterdir())]
    return [(suffix, content, content.find(b"LOCAL") + 6 if suffix == ".mha" else 352) for suffix, content in contents]


def mutate(rng: np.random.Generator, originals: list[tuple[str, bytes, int]], stem: Path) -> Path:
    """One mutated file: the image mutated, or the gzip around it."""
    suffix, content, header = originals[int(rng.integers(len(originals)))]
    changed = bytearray(content)
    packed = suffix == ".nii" and rng.random() < 0.5
    mutator = MUTATORS[int(rng.integers(len(MUTATORS)))]
    if packed and rng.random() < 0.4:
        changed = bytearray(igzip.compress(bytes(changed)))
        changed = mutator(rng, changed, min(20, len(changed)))
    else:
        changed = mutator(rng, changed, header)
        changed = bytearray(igzip.compress(bytes(changed))) if packed else changed
    path = stem.with_name(f"{stem.name}{suffix}{'.gz' if packed else ''}")
    path.write_bytes(changed)
    return path


@pytest.mark.parametrize("start", range(0, MUTATIONS, BATCH))
def test_mutated_files_are_segmented_or_told(tmp_path, originals, loaded, start):
    rng = np.random.default_rng((SEED, start))
    paths = [mutate(rng, originals, tmp_path / f"m{number:06d}") for number in range(start, start + BATCH)]
    cases = [Case(path.name, path) for path in paths]

    results = run_cases(cases, tmp_path / "out", loaded, Selection(Threshold()))

    expected = {VolumeError.exit_code, GeometryError.exit_code}
    for case, result in zip(cases, results, strict=True):
        assert case.image is not None
        if result.status == "done":
            assert read_labels(tmp_path / "out" / case.target).voxels.max() <= 2
        else:
            assert result.exit_code in expected, (case.image, result.error, result.trace)
            assert str(case.image) in result.error
            assert len(result.error.splitlines()) == 1
    masks = {str(c.target) for c, r in zip(cases, results, strict=True) if r.prediction and c.image}
    assert set(files(tmp_path / "out") if masks else []) == masks
    assert 0 < len(masks) < BATCH


def test_a_hundred_through_the_entrypoint(tmp_path, originals, model):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng((SEED, 10**6))
    for number in range(100):
        mutate(rng, originals, tmp_path / "in" / f"m{number:06d}")
    ended = drive(tmp_path / "in", tmp_path / "out", "--model", model, "--device", "cpu")
    document = manifest(tmp_path / "out")
    failed = [entry for entry in document["cases"] if entry["status"] == "failed"]
    assert len(document["cases"]) == len(find_cases(tmp_path / "in")) == 100
    assert {entry["exit_code"] for entry in failed} <= {VolumeError.exit_code, GeometryError.exit_code}
    assert ended.code == document["exit_code"] == VolumeError.exit_code
    assert len([line for line in ended.lines if line.startswith("failed: ")]) == len(failed)
    names = [entry["prediction"] for entry in document["cases"] if entry["status"] == "done"]
    assert files(tmp_path / "out") == sorted([*names, "run.json"])


@pytest.mark.parametrize("start", range(0, MUTATIONS, BATCH))
def test_mutated_records_and_recipes_are_read_or_told(tmp_path, start):
    """An earlier run's record is never a reason to fail; a Recipe is one or a `ModelError`."""
    rng = np.random.default_rng((SEED, start, 1))
    good = CaseResult("a", prediction="a.nii.gz", shape=(1, 2, 3), spacing_mm=(1.0, 1.0, 1.0), seconds={"network": 1.0})
    line = json.dumps(good.entry()).encode()
    for _ in range(BATCH):
        mutator = MUTATORS[int(rng.integers(len(MUTATORS)))]
        (tmp_path / "run.json").write_bytes(mutator(rng, bytearray(b'{"cases": [%s]}' % line), 40))
        (tmp_path / "run.jsonl").write_bytes(mutator(rng, bytearray(line + b"\n" + line), len(line)))
        for entry in entries(tmp_path).values():
            result = result_of_entry(entry)
            assert result is None or case_table([result], KITS19).row_count == 1
        text = bytes(mutator(rng, bytearray(recipe().to_json().encode()), 200)).decode(errors="replace")
        with suppress(ModelError):
            Recipe.from_json(text)
