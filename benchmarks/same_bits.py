"""Do two checkouts give the same bits? `python benchmarks/same_bits.py BEFORE AFTER [--scans DIR] [--golden DIR]`

Each checkout runs, in processes of its own, in a folder of its own:

- masks: the shipped model of BEFORE over two phantoms and every scan of DIR, on each engine;
- scores: `kits-eval --protocol all` of those masks, and of the pairs of label maps below GOLDEN (kits19 as predictions
  of kits23, cysts and all), as CSV and JSON;
- weights: forty training steps on phantoms, then `best.pt` and `checkpoint.pt` tensor by tensor, and `loss.csv`.

Prints a line a file with its hash on both sides; exit code 1 where any differs. What names a run (times, paths, the
program's version) is left out of what is hashed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TRAINING = ("--max-steps", "40", "--phantoms", "4", "--validate-every", "1000", "--holdout", "0.25", "--seed", "7")
TENSORS = """
import hashlib, sys, torch
state = torch.load(sys.argv[1], weights_only=True, map_location="cpu")
for part in ("model", "mean"):
    digest = hashlib.sha256()
    for name, tensor in sorted(state[part].items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    print(part, digest.hexdigest())
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--scans", type=Path, help="folder of cases in KiTS's layout")
    parser.add_argument("--golden", type=Path, help="folder with kits19 and kits23 label maps")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sides = [
            dict(hashes(checkout.resolve(), Path(scratch) / name, given.before.resolve(), given.scans, given.golden))
            for name, checkout in (("before", given.before), ("after", given.after))
        ]
    before, after = sides
    differing = 0
    for what in sorted(before.keys() | after.keys()):
        same = before.get(what) == after.get(what)
        differing += not same
        print(f"{'same' if same else 'DIFFERS'}  {what}  {before.get(what, '-')[:16]} {after.get(what, '-')[:16]}")
    print(f"{len(before.keys() | after.keys())} compared, {differing} differ")
    return 1 if differing else 0


def hashes(
    checkout: Path, work: Path, models: Path, scans: Path | None, golden: Path | None
) -> Iterator[tuple[str, str]]:
    """(what, sha256) of all that a checkout makes."""
    work.mkdir(parents=True)
    cases = work / "cases"
    call(checkout, "kits_submit.cli", "phantom", cases, "--cases", "2", "--seed", "2019", "--max-slices", "110")
    if scans is not None:
        for case in sorted(scans.glob("case_*")):
            shutil.copytree(case, cases / case.name)
    for path in sorted(cases.glob("case_0*/*.nii.gz")):
        yield f"phantom {path.parent.name}/{path.name}", of_bytes(path)
    for device in ("cpu", "openvino"):
        out = work / device
        model = models / "models" / "kits.onnx"
        call(checkout, "kits_submit.cli", "run", cases, out, "--model", model, "--device", device, "--protocol", "all")
        yield from ((f"{device} {path.name}", of_bytes(path)) for path in sorted(out.glob("prediction_*")))
        yield f"{device} scores.csv", of_bytes(out / "scores.csv")
    if golden is not None:
        call(checkout, "evaluation.cli", "score", golden / "kits19", golden / "kits23", "--protocol", "all", "--jobs",
             "2", "--csv", work / "golden.csv", "--json", work / "golden.json", allowed=(0, 3, 10))  # fmt: skip
        yield "golden.csv", of_bytes(work / "golden.csv")
        rows = json.loads((work / "golden.json").read_text())
        yield (
            "golden.json",
            hashlib.sha256(json.dumps(rows.get("aggregate", rows), sort_keys=True).encode()).hexdigest(),
        )
    run = work / "run"
    call(checkout, "kits_submit.cli", "train", "--preset", "demo", "--out", run, *TRAINING)
    for name in ("best.pt", "checkpoint.pt"):
        told = subprocess.run([sys.executable, "-c", TENSORS, run / name], check=True, capture_output=True, text=True)
        yield from ((f"{name} {line.split()[0]}", line.split()[1]) for line in told.stdout.splitlines())
    yield "loss.csv", of_bytes(run / "loss.csv")


def call(checkout: Path, module: str, *arguments: object, allowed: tuple[int, ...] = (0,)) -> None:
    """`main()` of a checkout's module in a process that sees that checkout before any installed one."""
    code = f"import sys; from {module} import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    ended = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode not in allowed:
        sys.exit(f"{checkout}: {' '.join(map(str, arguments))} ended with {ended.returncode}\n{ended.stderr[-2000:]}")


def of_bytes(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
