"""Forty cases on a local Ray cluster beside the plain run: masks, overhead, a worker killed and a node removed.

    python benchmarks/cluster.py                 # 40 phantoms, two nodes of one core, then four
    python benchmarks/cluster.py --cases 8

Seconds are of the whole command, start and scores included; masks are compared with the plain run's, to the bit.
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
from pathlib import Path
from typing import Any

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
POLL_SECONDS = 0.1


def timed(*arguments: object) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "kits_submit", "--quiet", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


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


def computed(out: Path) -> int:
    """How many masks were begun by workers that recorded them: each case once, where nothing is done twice."""
    return sum("kept" not in entry for entry in json.loads((out / "run.json").read_bytes())["cases"])


def main() -> None:
    parser = argparse.ArgumentParser(description="a local Ray cluster beside the plain run")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--max-slices", type=int, default=60)
    asked = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as scratch:
        measure(Path(scratch), asked.cases, asked.max_slices)


def measure(scratch: Path, cases: int, max_slices: int) -> None:
    from ray.cluster_utils import Cluster

    timed("phantom", scratch / "in", "--cases", cases, "--max-slices", max_slices)
    plain = timed("run", scratch / "in", scratch / "plain")
    print(f"{'plain run':<50}{plain:>8.1f} s")

    def row(name: str, cluster: Any, act: Callable[[Path], object] | None = None) -> None:
        out = scratch / name.replace(" ", "-").replace(",", "")
        acting = None if act is None else when_half_is_done(out, cases, lambda: act(out))
        seconds = timed("run", scratch / "in", out, "--cluster", cluster.address)
        if acting is not None:
            acting.join()
        masks = "same masks" if same_masks(scratch / "plain", out) else "OTHER MASKS"
        whole = f"{computed(out)} of {cases} in run.json"
        print(f"{name:<50}{seconds:>8.1f} s   {seconds / plain:.3f} of plain   {masks}, {whole}", flush=True)

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
