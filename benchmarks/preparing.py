"""How long a training prepares its cases (fingerprint and cache), beside unzipping the same files alone.

    python benchmarks/preparing.py DATA [--jobs 2] [--preset paper]

DATA: labelled cases, `kits-submit phantom DATA --around LABELS` for KiTS19's true sizes. Both on the same cores, in one
run: zlib in as many processes, then `train.data.dataset.prepare_dataset` into an empty folder, then once more, which
finds all there. Peak memory is of the largest process.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import zlib
from pathlib import Path

import torch

from kits_submit.files.cases import find_cases
from kits_submit.machine.pool import in_processes
from kits_submit.machine.processors import processors
from train.compute.distributed import Workers
from train.data.dataset import prepare_dataset
from train.place import Place
from train.presets import preset
from train.records.events import Silence

_CHUNK = 1 << 20


def unzip(path: Path) -> int:
    """Bytes that a gzip file holds, thrown away as they come."""
    inflate, count = zlib.decompressobj(wbits=31), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            count += len(inflate.decompress(chunk))
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--jobs", type=int, default=processors())
    parser.add_argument("--preset", default="paper")
    given = parser.parse_args()
    cases = [case for case in find_cases(given.data) if case.image is not None and case.label is not None]
    files = [path for case in cases for path in (case.image, case.label) if path is not None]
    begun = time.monotonic()
    total = sum(in_processes(unzip, files, given.jobs))
    alone = time.monotonic() - begun
    print(f"{len(cases)} cases, {total / 1e9:.1f} GB unzipped in {alone:.1f} s by {given.jobs} processes")
    place = Place(Workers(), torch.device("cpu"), Silence(), given.jobs)
    with tempfile.TemporaryDirectory(dir=given.data.parent) as folder:
        for words in ("fingerprint and cache", "a second start"):
            begun = time.monotonic()
            prepare_dataset(given.data, preset(given.preset), Path(folder), Path(folder, "cache"), place)
            took = time.monotonic() - begun
            print(f"{words}: {took:.1f} s, {took / alone:.2f} of unzipping")
    for words, who in (
        ("this process", resource.RUSAGE_SELF),
        ("the largest of its processes", resource.RUSAGE_CHILDREN),
    ):
        print(f"peak memory of {words}: {resource.getrusage(who).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
