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
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

SLICES = (29, 49, 61, 75, 83, 88, 92, 97, 101, 103, 109, 131, 146, 171, 206, 274, 325, 470, 591, 683, 1059)
BYTES_A_SLICE = 390e3  # of phantoms, int16 of full noise
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


TIMES: dict[str, Times] = {}


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
    """Phantoms of several sizes, each run alone on all cores and on one."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        command = [sys.executable, "-m", "kits_submit", "--quiet"]
        for number, slices in enumerate((45, 80, 200, 600)):
            more = ["--cases", "1", "--seed", str(number), "--max-slices", str(slices)]
            subprocess.run([*command, "phantom", str(folder / str(slices)), *more], check=True)
            for threads in ("1", "2"):
                out = folder / f"out-{slices}-{threads}"
                subprocess.run(
                    [*command, "run", str(folder / str(slices)), str(out), "--threads", threads],
                    check=True, stdout=subprocess.DEVNULL,
                )  # fmt: skip
                (entry,) = json.loads((out / "run.json").read_bytes())["cases"]
                size = (folder / str(slices) / "case_00000" / "imaging.nii.gz").stat().st_size
                told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in entry["seconds"].items())
                print(f"{entry['shape'][0]} slices, {size / 1e6:.0f} MB, {threads} threads: "
                      f"{entry['wall_seconds']:.2f} s, busy {told}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="how time and cost grow")
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        measure()
    else:
        table()


if __name__ == "__main__":
    main()
