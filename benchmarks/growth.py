"""How time and cost grow with scans and machines: a simulation of the queue, stragglers, retries and lost machines.

    python benchmarks/growth.py --measure    # seconds and bytes a case by size, on this machine, for TIMES below
    python benchmarks/growth.py              # the table of docs/scale.md

Sizes are drawn from KiTS19's 210 cases (`SLICES`: every twentieth part of them, of 512 x 512). A worker reads ahead
while it computes, so that a case takes the longest of fetching, unpacking and computing. Machines that are lost (spot
instances) lose the cases they have, which others do again; a case in a thousand kills its worker once. Nothing here
has been run on that many machines: what is measured is a case, what is simulated is the queue.
"""

from __future__ import annotations

import argparse
import heapq
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kits_submit.phantom import write_phantoms

SLICES = (29, 49, 61, 75, 83, 88, 92, 97, 101, 103, 109, 131, 146, 171, 206, 274, 325, 470, 591, 683, 1059)
BYTES_A_SLICE = 490e3  # of phantoms of 512 x 512, float64 as KiTS19's own (`--measure`)
STRAGGLER = 0.15, 0.01, 4.0  # spread of a case's time (of its logarithm); share of cases on a slow machine; how slow
CASES_AT_ONCE = 3  # that a worker has: one computed, one read ahead, one written


@dataclass(frozen=True)
class Times:
    """Of a worker: seconds a case of any size, and a slice of 512 x 512: unpacked, and computed; of its start."""

    fixed: float
    unpack: float
    compute: float
    start: float


@dataclass(frozen=True)
class Place:
    """- `workers`: at once. `bucket`: bytes a second of all together; `link`: of one worker.
    - `life_hours`: mean time until a worker is lost; it is back after `back` seconds. None: never lost.
    """

    workers: int
    bucket: float = 12.5e9
    link: float = 0.6e9
    life_hours: float | None = None
    back: float = 180.0


COMMAND = [sys.executable, "-m", "kits_submit", "--quiet"]
TIMES = {
    "a core": Times(fixed=1.5, unpack=0.0020, compute=0.0037, start=6.0),
    "network in no time": Times(fixed=0.0, unpack=0.0020, compute=0.0, start=6.0),  # what no GPU can be better than
}


def draw_slices(cases: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return np.interp(rng.random(cases), np.linspace(0, 1, len(SLICES)), SLICES)


def services(slices: npt.NDArray[np.float64], times: Times, place: Place, rng: np.random.Generator) -> list[float]:
    """Seconds of a worker a case, were nothing lost."""
    spread, slow_share, slow = STRAGGLER
    factor = np.exp(rng.normal(0, spread, len(slices))) * np.where(rng.random(len(slices)) < slow_share, slow, 1.0)
    fetch = slices * BYTES_A_SLICE / min(place.link, place.bucket / place.workers)
    compute = (times.fixed + slices * times.compute) * factor
    found: list[float] = np.maximum.reduce([fetch, slices * times.unpack, compute]).tolist()
    return found


@dataclass
class Outcome:
    """- `hours`: until the last case. `busy`: share of the time that made masks. `again`: cases begun twice."""

    hours: float
    busy: float
    again: int


def queued(service: list[float], times: Times, place: Place, rng: np.random.Generator) -> Outcome:
    """The cluster's way: whoever is free takes the next case, the largest first."""
    waiting = sorted(service)
    life = np.inf if place.life_hours is None else place.life_hours * 3600
    free = [(times.start, worker) for worker in range(place.workers)]
    dies = [rng.exponential(life) for _ in free]
    heapq.heapify(free)
    last = again = 0.0
    while waiting:
        now, worker = heapq.heappop(free)
        seconds = waiting[-1]
        end = now + seconds
        if end > dies[worker]:  # lost with what it has: the one computed is begun again, and two that were read
            again += CASES_AT_ONCE
            back = max(now, dies[worker]) + place.back + times.start
            dies[worker] = back + rng.exponential(life)
            heapq.heappush(free, (back, worker))
            continue
        waiting.pop()
        if rng.random() < 1e-3:
            again += 1
            end += seconds + times.start
        last = max(last, end)
        heapq.heappush(free, (end, worker))
    return Outcome(last / 3600, sum(service) / (last * place.workers), int(again))


def dealt(service: list[float], slices: npt.NDArray[np.float64], times: Times, workers: int) -> float:
    """Hours of shards, balanced by bytes beforehand: the slowest shard."""
    from kits_submit.batch.shards import deal

    sizes = {str(n): int(size * BYTES_A_SLICE) for n, size in enumerate(slices)}
    return max(sum(service[int(n)] for n in shard) for shard in deal(sizes, workers)) / 3600 + times.start / 3600


def table() -> None:
    print("| worker | scans | workers | hours | of the workers' time | begun again | worker hours | shards: hours |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, times in TIMES.items():
        for cases, place in (
            (10_000, Place(8)), (10_000, Place(64)), (10_000, Place(64, life_hours=6.0)), (1_000_000, Place(256)),
            (1_000_000, Place(1024)), (1_000_000, Place(1024, life_hours=6.0)), (1_000_000, Place(4096)),
        ):  # fmt: skip
            rng = np.random.default_rng(0)
            slices = draw_slices(cases, rng)
            service = services(slices, times, place, rng)
            found = queued(service, times, place, rng)
            shards = "-" if place.life_hours else f"{dealt(service, slices, times, place.workers):.2f}"
            lost = "" if place.life_hours is None else f", each lost every {place.life_hours:g} h"
            print(
                f"| {kind} | {cases:,} | {place.workers:,}{lost} | {found.hours:.2f} | {100 * found.busy:.0f} % | "
                f"{found.again:,} | {found.hours * place.workers:,.0f} | {shards} |"
            )
    for kind, times in TIMES.items():
        mean = float(np.mean(draw_slices(100_000, np.random.default_rng(0))))
        seconds = max(times.fixed + mean * times.compute, mean * times.unpack)
        rate = mean * BYTES_A_SLICE / seconds
        print(f"{kind}: {seconds:.1f} s and {mean * BYTES_A_SLICE / 1e6:.0f} MB a mean case, {rate / 1e6:.0f} MB/s; "
              f"12.5 GB/s of a bucket are used up by {12.5e9 / rate:,.0f} workers")  # fmt: skip


def measure() -> None:
    """Processor seconds of a case by size: of a run of two alike less a run of one, on one thread."""
    with tempfile.TemporaryDirectory() as scratch:
        for slice_mm in (5.0, 2.5, 1.0, 0.5):
            folder = Path(scratch) / str(slice_mm)
            write_phantoms(folder / "one", 1, 2019, spacing_mm=(slice_mm, 0.78, 0.78))
            image = folder / "one" / "case_00000" / "imaging.nii.gz"
            (folder / "two").mkdir()
            for case in ("case_00000", "case_00001"):
                (folder / "two" / case).symlink_to(image.parent)
            one, two = (spent(folder / which, folder / f"out-{which}") for which in ("one", "two"))
            (entry,) = json.loads((folder / "out-one" / "run.json").read_bytes())["cases"]
            print(
                f"{entry['shape'][0]} slices, {image.stat().st_size / 1e6:.0f} MB: {two - one:.2f} s, "
                f"{unpacking(image):.2f} s of them to unpack; {2 * one - two:.2f} s of start",
                flush=True,
            )


def spent(source: Path, out: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*COMMAND, "run", str(source), str(out), "--threads", "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def unpacking(image: Path) -> float:
    from kits_submit.files.content import open_content

    start = time.process_time()
    with open_content(image) as content:
        while content.stream.read(4 << 20):
            pass
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="how time and cost grow")
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        measure()
    else:
        table()


if __name__ == "__main__":
    main()
