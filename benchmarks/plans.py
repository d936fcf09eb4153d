"""Patch plans by cost and by what they find: `python benchmarks/plans.py CASES [CASES ...] [--plans 56:8,48:12]`.

CASES are folders of cases with label maps. A plan is PATCH:MARGIN in voxels along each axis, or PATCH:o0.5, patches
that overlap by half and are blended as the peers do. Printed: seconds of network over all cases, and for each folder
the mean Dice of kidney and tumor together and of the tumor (KiTS19's, `-` where no case has one).
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PLANS = "48:o0.5,48:12,56:8,64:8,72:8,96:8"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+")
    parser.add_argument("--plans", default=PLANS)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "kits.onnx")
    given = parser.parse_args()
    heads = "".join(f"{folder.name[:16]:>18}: kidney   tumor" for folder in given.cases)
    print(f"{'plan':>10}{'network s':>11}{heads}")
    for plan in given.plans.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            found = [
                segmented(folder, plan, given.model, Path(scratch) / str(i)) for i, folder in enumerate(given.cases)
            ]
        seconds = sum(taken for taken, _, _ in found)
        told = "".join(f"{kidney:>26.3f}{shown(tumor):>8}" for _, kidney, tumor in found)
        print(f"{plan:>10}{seconds:>11.1f}{told}", flush=True)


def segmented(cases: Path, plan: str, model: Path, out: Path) -> tuple[float, float, float]:
    """(Seconds of network, mean kidney Dice, mean tumor Dice) of a folder of cases."""
    command = [
        sys.executable,
        "-m",
        "kits_submit",
        "run",
        str(cases.resolve()),
        str(out),
        "--model",
        str(model.resolve()),
    ]
    command += ["--protocol", "kits19", *options(plan)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    seconds = sum(case["seconds"]["network"] for case in json.loads((out / "run.json").read_text())["cases"])
    with (out / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return seconds, *(mean([row[name] for row in rows]) for name in ("tk_dice", "tu_dice"))


def options(plan: str) -> list[str]:
    edge, _, rest = plan.partition(":")
    patch = ["--patch", ",".join([edge] * 3)]
    return [*patch, "--overlap", rest[1:]] if rest.startswith("o") else [*patch, "--margin", ",".join([rest] * 3)]


def mean(texts: list[str]) -> float:
    values = [float(text) for text in texts if text]
    return float(np.mean(values)) if values else float("nan")


def shown(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
