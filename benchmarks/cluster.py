"""Forty cases on a local Ray cluster beside the plain run: masks, overhead, a worker killed and a node removed.

    python benchmarks/cluster.py                 # 40 phantoms, two nodes of one core, then four
    python benchmarks/cluster.py --cases 8
    python benchmarks/cluster.py --pairs 10000   # kits-eval

Where others use the machine, seconds tell little and processor seconds more: those of every process that this one has
begun, Ray's own included. Seconds are of the whole command, start and scores included; masks are compared with the
plain run's, to the bit.
Needs the extra `cluster`. The nodes are processes of this machine, so more nodes than cores share them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from scale import draw

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    seconds: float
    processor_seconds: float


class Processors:
    """Processor seconds of all descendants of this process, those that have ended included."""

    def __init__(self) -> None:
        self._ticks: dict[int, int] = {}
        self._base: dict[int, int] = {}
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self._look()
        self._base = dict(self._ticks)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    @property
    def seconds(self) -> float:
        spent = sum(ticks - self._base.get(process, 0) for process, ticks in self._ticks.items())
        return spent / os.sysconf("SC_CLK_TCK")

    def _watch(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        parents, ticks = {}, {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = path.read_text().rpartition(") ")[2].split()
                process = int(path.parent.name)
                parents[process], ticks[process] = int(fields[1]), int(fields[11]) + int(fields[12])
        known = {os.getpid(), *self._ticks}
        for process in sorted(parents):  # a child is younger than its parent, but for a wrap of the numbers
            if parents[process] in known:
                known.add(process)
        self._ticks |= {process: ticks[process] for process in known & ticks.keys() if process != os.getpid()}


def timed(*arguments: object) -> Cost:
    start = time.perf_counter()
    with Processors() as processors:
        subprocess.run(
            [sys.executable, "-m", "kits_submit", "--quiet", *map(str, arguments)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return Cost(time.perf_counter() - start, processors.seconds)


def same_masks(one: Path, other: Path) -> bool:
    names = [sorted(path.name for path in folder.glob("*.nii.gz")) for folder in (one, other)]
    return names[0] == names[1] and all((one / n).read_bytes() == (other / n).read_bytes() for n in names[0])


def when_half_is_done(out: Path, cases: int, act: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        while len(list(out.glob("prediction_*"))) < cases // 2:
            time.sleep(POLL_SECONDS)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_a_worker(out: Path) -> None:
    """The journals of the workers are called by host and process: run.HOST-PID-XXXXXXXX.jsonl."""
    journal = max(out.glob("run.*.jsonl"), key=lambda path: path.stat().st_mtime)
    os.kill(int(journal.name.rsplit("-", 2)[1]), signal.SIGKILL)


def recorded(out: Path) -> int:
    """Cases that `run.json` calls done."""
    return sum(entry["status"] == "done" for entry in json.loads((out / "run.json").read_bytes())["cases"])


def measure_scoring(scratch: Path, pairs: int) -> None:
    """Tiny pairs, so that it is the handing out that is measured."""
    from ray.cluster_utils import Cluster

    (scratch / "out").mkdir()
    (scratch / "in").mkdir()
    mask = draw(scratch / "in", pairs)
    for number in range(pairs):
        (scratch / "out" / f"prediction_{number:05d}.nii.gz").write_bytes(mask)
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    for name, more in (("plain", ()), ("two nodes", ("--cluster", cluster.address))):
        cost = timed("evaluate", scratch / "out", scratch / "in", "--protocol", "paper", *more)
        print(f"{pairs} pairs scored, {name:<12}{cost.seconds:>8.1f} s{cost.processor_seconds:>9.1f} processor s")
    cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description="a local Ray cluster beside the plain run")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--max-slices", type=int, default=60)
    parser.add_argument("--input", type=Path, help="cases that are there already")
    parser.add_argument("--pairs", type=int, help="score so many tiny pairs instead")
    asked = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as scratch:
        if asked.pairs:
            measure_scoring(Path(scratch), asked.pairs)
            return
        source = asked.input or Path(scratch) / "in"
        if asked.input is None:
            timed("phantom", source, "--cases", asked.cases, "--max-slices", asked.max_slices)
        measure(Path(scratch), source)


def measure(scratch: Path, source: Path) -> None:
    from ray.cluster_utils import Cluster

    cases = len(list(source.iterdir()))
    plain = timed("run", source, scratch / "plain")
    print(f"{'plain run':<42}{plain.seconds:>8.1f} s{plain.processor_seconds:>25.1f} processor s", flush=True)

    def row(name: str, cluster: Any, act: Callable[[Path], object] | None = None) -> None:
        out = scratch / name.replace(" ", "-").replace(",", "")
        acting = None if act is None else when_half_is_done(out, cases, lambda: act(out))
        cost = timed("run", source, out, "--cluster", cluster.address)
        if acting is not None:
            acting.join()
        masks = "same masks" if same_masks(scratch / "plain", out) else "OTHER MASKS"
        whole = f"{recorded(out)} of {cases} in run.json"
        print(
            f"{name:<42}{cost.seconds:>8.1f} s {cost.seconds / plain.seconds:>6.3f} of plain"
            f"{cost.processor_seconds:>9.1f} processor s {cost.processor_seconds / plain.processor_seconds:>6.3f}"
            f"   {masks}, {whole}",
            flush=True,
        )

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    row("two nodes", cluster)
    row("two nodes, a worker killed in the middle", cluster, kill_a_worker)
    third = cluster.add_node(**NODE)
    row("three nodes, one removed in the middle", cluster, lambda _: cluster.remove_node(third, allow_graceful=False))
    for _ in range(2):
        cluster.add_node(**NODE)
    row("four nodes", cluster)
    cluster.shutdown()


if __name__ == "__main__":
    main()
