"""How much faster is `kits-eval --protocol kits23` than the official route, and how much memory does it take?

Both read the same files in the same run. The official route is KiTS23's: nibabel, a mask a class, and PyPI's
`surface-distance-based-measures` in the bounding box of both masks. Prints ratios; writes build/bench/scoring.json.

    python benchmarks/scoring.py --pairs 4      # the golden pairs with surface Dice are 16
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
LABELS = SHARED / "data" / "kits_labels"
LARGEST = LABELS / "kits19" / "case_00151" / "segmentation.nii.gz"  # 512 x 512 x 1059
Pair = tuple[str, Path, Path]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=16, help="golden pairs to time against the official route")
    parser.add_argument("--stray", type=int, default=1, help="pairs to time with two stray voxels")
    parser.add_argument("--all-pairs", type=int, default=60, help="pairs whose share of decompression is measured")
    parser.add_argument("--repeats", type=int, default=3, help="our times are the median of so many")
    parser.add_argument("--jobs-pairs", type=int, default=100, help="pairs that one and two jobs are timed on")
    options = parser.parse_args()
    if not LABELS.is_dir():
        print(f"{LABELS} is not there: nothing to measure")
        return 0
    warnings.simplefilter("ignore")  # the package calls names that SciPy deprecates
    sys.path.insert(0, str(ROOT))
    result: dict[str, Any] = {"golden": golden(list(golden_pairs())[: options.pairs], options.repeats)}
    result["stray"] = [stray(pair, options.repeats) for pair in smallest(options.stray)]
    result["memory"] = memory()
    if options.all_pairs:
        result["all"] = decompression(options.all_pairs)
    if options.jobs_pairs:
        result["jobs"] = two_jobs(options.jobs_pairs)
    out = ROOT / "build" / "bench" / "scoring.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {out.relative_to(ROOT)}")
    return 0


def golden_pairs() -> Iterator[Pair]:
    """Those of the golden files that have surface Dice: KiTS19's labels and KiTS23's raters against KiTS23's labels."""
    folder = SHARED / "data" / "golden"
    for row in json.loads((folder / "kits19_labels_as_predictions_vs_kits23_labels.json").read_text()):
        if "hec" in row:
            yield row["case"], mask("kits19", row["case"]), mask("kits23", row["case"])
    for case, raters in json.loads((folder / "kits23_raters_vs_labels.json").read_text()).items():
        for rater in raters:
            yield f"{case} {rater}", LABELS / "kits23" / case / f"{rater}.nii.gz", mask("kits23", case)


def golden(pairs: list[Pair], repeats: int) -> dict[str, Any]:
    print(f"{'pair':<24}{'official s':>12}{'ours s':>10}{'ratio':>8}{'largest difference':>22}")
    ours_total, official_total, rows = 0.0, 0.0, []
    for number, pair in enumerate(pairs):
        if number == 0:
            ours(pair)  # imports
        official_s, official_scores = timed(official, pair[1], pair[2])
        ours_s, our_scores = median_of(repeats, ours, pair)
        worst = max(abs(our_scores[key] - value) for key, value in official_scores.items())
        print(f"{pair[0]:<24}{official_s:>12.2f}{ours_s:>10.3f}{official_s / ours_s:>8.1f}{worst:>22.1e}")
        rows.append({"pair": pair[0], "ratio": official_s / ours_s, "largest_difference": worst})
        ours_total, official_total = ours_total + ours_s, official_total + official_s
    ratio = official_total / ours_total if pairs else 0.0
    print(f"{'total':<24}{official_total:>12.2f}{ours_total:>10.3f}{ratio:>8.1f}   (wanted: 10)\n")
    return {"ratio": ratio, "pairs": rows}


def stray(pair: Pair, repeats: int) -> dict[str, Any]:
    """With one predicted voxel more in each of two opposite corners."""
    import nibabel

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, voxels in (("without", 0), ("with", 1)):
            image = nibabel.load(pair[1])
            labels = np.asarray(image.dataobj).astype(np.uint8)
            if voxels:
                labels[0, 0, 0] = labels[-1, -1, -1] = 2
            paths.append(Path(folder) / f"{name}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(labels, image.affine), paths[-1])
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(2 * repeats + 1):  # in turn, so that a busy machine slows both
            for path, taken in zip(paths, times, strict=True):
                seconds, scores = timed(ours, (pair[0], path, pair[2]))
                taken.append(seconds)
        without, with_stray = (float(np.median(taken)) for taken in times)
        official_s, official_scores = timed(official, paths[1], pair[2])
    worst = max(abs(scores[key] - value) for key, value in official_scores.items())
    print(f"two stray voxels, {pair[0]}: {with_stray / without:.2f} times ours without them (wanted: at most 1.3),")
    print(f"  official {official_s / with_stray:.0f} times ours (wanted: 30), largest difference {worst:.1e}\n")
    return {"pair": pair[0], "with_over_without": with_stray / without, "ratio": official_s / with_stray}


def memory() -> dict[str, Any]:
    """Peak resident memory of scoring the largest case, in a process of its own.

    VmHWM starts anew with a process; ru_maxrss begins with the parent's.
    """
    import nibabel

    with tempfile.TemporaryDirectory() as folder:
        moved = Path(folder) / "prediction_00151.nii.gz"
        image = nibabel.load(LARGEST)
        labels = np.roll(np.asarray(image.dataobj), 2, axis=1)
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), moved)
        arrays_mb = 2 * labels.size / 1e6
        del labels
        result: dict[str, Any] = {"two_arrays_mb": arrays_mb}
        for protocol in ("kits23", "all"):
            code = (
                "import sys; from pathlib import Path; from evaluation.cli import main; code = main();"
                "status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines());"
                "print('peak', int(status['VmHWM'].split()[0]) * 1024 / 1e6); sys.exit(code)"
            )
            command = [sys.executable, "-c", code, str(moved), str(LARGEST), "--protocol", protocol]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            peak = float(done.stdout.split("peak")[-1])
            print(
                f"peak memory, 512x512x1059, {protocol}: {peak:.0f} MB = two label arrays + {peak - arrays_mb:.0f} MB"
            )
            result[protocol] = {"peak_mb": peak, "beyond_two_arrays_mb": peak - arrays_mb}
    print(f"  (wanted: at most twice the two arrays + 200 MB = {2 * arrays_mb + 200:.0f} MB)\n")
    return result


def decompression(count: int) -> dict[str, Any]:
    """The share of the processor time that gunzipping the same files takes, over all pairs."""
    from isal import isal_zlib

    from evaluation.cohort import score_pairs
    from evaluation.masks.matching import match

    both = [pair for pair in match(LABELS / "kits19", LABELS / "kits23") if pair[1] and pair[2]][:count]
    start = time.process_time()
    for _, *paths in both:
        for path in paths:
            isal_zlib.decompress(Path(str(path)).read_bytes(), 31)
    gunzip_s = time.process_time() - start
    result: dict[str, Any] = {"pairs": len(both)}
    for protocol in ("kits19", "kits23", "all"):
        start = time.process_time()
        whole_s, _ = timed(score_pairs, both, protocol)
        cpu_s = time.process_time() - start
        share = gunzip_s / cpu_s
        print(
            f"{len(both)} pairs, {protocol}: {whole_s:.1f} s, {cpu_s:.1f} s of CPU; gunzip alone {share:.0%} of those"
        )
        result[protocol] = {"gunzip_share": share}
    return result


def two_jobs(count: int) -> dict[str, Any]:
    """What two jobs gain over one, beside what two processes that only count gain on this machine at this time.

    One job gunzips both files of a pair at once, so that it keeps more than one core busy, which bounds the gain.
    """
    from evaluation.cohort import score_pairs
    from evaluation.masks.matching import match

    both = [pair for pair in match(LABELS / "kits19", LABELS / "kits23") if pair[1] and pair[2]]
    again = range(-(-count // len(both)))
    pairs = [(f"{case}_{number}", ours, truth) for number in again for case, ours, truth in both][:count]
    result: dict[str, Any] = {"pairs": len(pairs)}
    for protocol in ("kits23", "all"):
        score_pairs(pairs[:2], protocol)  # imports
        rounds = []
        for _ in range(3):  # in turn, so that a busy machine slows both
            cpu_s = time.process_time()
            one_s, _ = timed(score_pairs, pairs, protocol, 1)
            cores = (time.process_time() - cpu_s) / one_s
            two_s, _ = timed(score_pairs, pairs, protocol, 2)
            rounds.append((one_s, two_s, cores, counting(2) / counting(1)))
        one_s, two_s, cores, free = (float(np.median(column)) for column in zip(*rounds, strict=True))
        gain = one_s / two_s
        print(
            f"{len(pairs)} pairs, {protocol}: {one_s:.1f} s, two jobs {two_s:.1f} s: {gain:.2f} times (wanted: 1.6);"
            f" one job keeps {cores:.2f} cores busy, and two processes that only count gain {free:.2f}"
        )
        result[protocol] = {"gain": gain, "cores_of_one_job": cores, "gain_of_counting": free}
    return result


def counting(processes: int, seconds: float = 1.0) -> int:
    """How far so many processes count together."""
    code = (
        "import time\nn, end = 0, time.perf_counter() + " + str(seconds) + "\n"
        "while time.perf_counter() < end:\n    n += 1\nprint(n)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    return sum(int(process.communicate()[0]) for process in running)


def ours(pair: Pair) -> dict[str, float]:
    from evaluation.cohort import score_pairs

    row = score_pairs([pair], "kits23").rows[0]
    if row.error is not None:
        raise RuntimeError(row.error.message)
    return dict(row.scores)


def official(prediction: Path, truth: Path) -> dict[str, float]:
    """Dice and surface Dice of the three classes as KiTS23's evaluation takes them."""
    import nibabel
    from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances

    from evaluation.kits import KITS23

    image = nibabel.load(prediction)
    predicted, true = np.asarray(image.dataobj), np.asarray(nibabel.load(truth).dataobj)
    scores: dict[str, float] = {}
    for target in KITS23:
        ours, theirs = (np.isin(labels, list(target.labels)) for labels in (predicted, true))
        if not ours.any() or not theirs.any():
            scores |= {f"{target.name}_{end}": float(not ours.any() and not theirs.any()) for end in ("dice", "sd")}
            continue
        scores[f"{target.name}_dice"] = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
        distances = compute_surface_distances(theirs, ours, image.header.get_zooms())
        scores[f"{target.name}_sd"] = compute_surface_dice_at_tolerance(distances, target.tolerance_mm)
    return scores


def smallest(count: int) -> list[Pair]:
    """The pairs whose official stray-voxel time one can wait for."""
    return sorted(golden_pairs(), key=lambda pair: pair[2].stat().st_size)[:count]


def mask(release: str, case: str) -> Path:
    return LABELS / release / case / "segmentation.nii.gz"


def timed(work: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work(*arguments)
    return time.perf_counter() - start, found


def median_of(repeats: int, work: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    times, found = zip(*(timed(work, *arguments) for _ in range(repeats)), strict=True)
    return float(np.median(times)), found[0]


if __name__ == "__main__":
    sys.exit(main())
