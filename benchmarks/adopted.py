"""Adopted nnU-Nets beside nnU-Net: the same labels, in how much of the time and memory?

    python benchmarks/tiny_nnunets.py build/nnunets                        # some minutes
    python benchmarks/adopted.py labels build/nnunets --scans DIR          # tiny trained ones, at three spacings
    python benchmarks/adopted.py speed --slices 100 --spacing 2,2,2        # 31 million random weights

`labels` compares voxel by voxel what nnU-Net's own predictor and ours make of one file, mirrored as trained, and states
the share of the foreground (of either) that gets the same label. `speed` runs both file to file, one after the other,
and tells seconds by stage and the peak resident set of all processes. nnU-Net is run as `nnUNetv2_predict` runs it, in
one process so that its stages can be timed. Needs nnunetv2 (`requirements.txt`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STEPS = ((1, 1, 1), (1, 2, 2), (2, 3, 3))  # of voxels taken along Z, Y, X: three spacings of each scan
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    labels = parts.add_parser("labels")
    labels.add_argument("nnunets", type=Path)
    labels.add_argument("--scans", type=Path, help="folder of case_*/imaging.nii.gz beside the phantoms")
    labels.add_argument("--kinds", default="plain,residual,regions,anisotropic,folds,turned")
    labels.add_argument("--most", type=int, default=99, help="scans and phantoms, each")
    labels.add_argument("--device", default="auto")
    labels.add_argument(
        "--block-mm", type=float, default=1e9, help="of each scan so much around its kidneys, to be fast"
    )
    labels.add_argument("--fp32-sums", action="store_true", help="let nnU-Net add up and resample logits in fp32")
    speed = parts.add_parser("speed")
    speed.add_argument("--slices", type=int, default=100)
    speed.add_argument("--spacing", default="2,2,2", help="of the plan, mm")
    speed.add_argument("--patch", default="128,128,128")
    speed.add_argument("--mirror", action="store_true", help="eight times the work for both")
    speed.add_argument("--precision", default="fp32")
    speed.add_argument("--model", type=Path, default=ROOT / "build" / "nnunets" / "large", help="made where it is not")
    child = parts.add_parser("nnunet")
    child.add_argument("model", type=Path)
    child.add_argument("out", type=Path)
    child.add_argument("images", type=Path, nargs="+")
    child.add_argument("--mirror", action="store_true")
    child.add_argument("--fp32-sums", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, "")
    return {"labels": compare_labels, "speed": compare_speed, "nnunet": run_nnunet}[options.part](options)


def compare_labels(options: argparse.Namespace) -> int:
    worst: dict[str, float] = {}
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            images = written(folder / "images", options, stored_as_kits=kind == "turned")
            model = options.nnunets / f"{kind}.onnx"
            if not model.exists():
                kits("adopt", str(options.nnunets / kind), "--out", str(model))
            device = ["--device", options.device]
            kits(
                "run", str(folder / "images"), str(folder / "ours"), "--model", str(model), "--names", "source", *device
            )
            nnunet(options.nnunets / kind, images, folder / "theirs", mirror=True, fp32_sums=options.fp32_sums)
            for image in images:
                theirs = folder / "theirs" / f"{image.name.removesuffix('_0000.nii.gz')}.nii.gz"
                a, b = (np.asarray(nibabel.load(f).dataobj) for f in (folder / "ours" / theirs.name, theirs))
                foreground = int(np.count_nonzero((a > 0) | (b > 0)))
                other = int(np.count_nonzero(a != b))
                share = 1 - other / foreground if foreground else float(other == 0)
                worst[kind] = min(worst.get(kind, 1.0), share)
                told = f"{other:>6} of {foreground:>8} foreground voxels differ: {share:.4%} the same"
                print(f"{kind:<12}{image.name[:-12]:<26}{told}", flush=True)
    for kind, share in worst.items():
        print(f"worst of {kind:<12}{share:.4%}")
    out = ROOT / "build" / "bench" / "adopted.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(worst, indent=1) + "\n")
    return 0 if all(share >= 0.999 for share in worst.values()) else 1


def written(folder: Path, options: argparse.Namespace, *, stored_as_kits: bool) -> list[Path]:
    """The scans as they are and thinned, phantoms stored x, y, z (or as KiTS does), under nnU-Net's names."""
    folder.mkdir(parents=True)
    scans = sorted(options.scans.glob("case_*"))[: options.most] if options.scans else []
    phantoms = sorted((options.nnunets / "phantoms").glob("case_*"))[: min(2, options.most)]
    images = []
    for case in (*scans, *phantoms):
        stored: Any = nibabel.load(case / "imaging.nii.gz")
        voxels, affine = np.asarray(stored.dataobj, np.float32), stored.affine
        voxels, affine = block(voxels, affine, case / "segmentation.nii.gz", options.block_mm)
        kits = case in phantoms
        if kits and not stored_as_kits:
            voxels, affine = voxels.T, LPS @ np.diag([*stored.header.get_zooms()[::-1], 1.0])
        slow = 0 if kits and stored_as_kits else 2  # the stored axis of slices
        for steps in STEPS:
            every = steps if slow == 0 else steps[::-1]
            thin = voxels[:: every[0], :: every[1], :: every[2]]
            path = folder / f"{case.name}s{''.join(map(str, steps))}_0000.nii.gz"
            nibabel.save(nibabel.Nifti1Image(thin, affine @ np.diag([*every, 1.0])), path)
            images.append(path)
    return images


def block(voxels: Any, affine: Any, label: Path, most_mm: float) -> tuple[Any, Any]:
    """The part of a scan around its kidneys, with the affine of that part."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    found = np.argwhere(np.asarray(nibabel.load(label).dataobj) > 0)
    middle = (found.min(0) + found.max(0)) // 2
    half = np.ceil(most_mm / edges / 2)
    low = np.maximum(0, middle - half).astype(int)
    high = np.minimum(voxels.shape, middle + half).astype(int)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ low
    return voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], moved


def kits(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "kits_submit", *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def nnunet(model: Path, images: list[Path], out: Path, *, mirror: bool, fp32_sums: bool = False) -> dict[str, float]:
    """nnU-Net's predictor in a process of its own; seconds by stage."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "nnunet", str(model), str(out), *map(str, images)]
    command += ["--mirror"] if mirror else []
    command += ["--fp32-sums"] if fp32_sums else []
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def run_nnunet(options: argparse.Namespace) -> int:
    import torch
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if options.fp32_sums:
        torch.half = torch.float32
    started = time.perf_counter()
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=options.mirror, perform_everything_on_device=False,
        device=torch.device("cpu"), verbose=False, allow_tqdm=False,
    )  # fmt: skip
    predictor.initialize_from_trained_model_folder(str(options.model), None)
    manager, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    stages = {"load": time.perf_counter() - started, "preprocess": 0.0, "network": 0.0, "export": 0.0}
    for image in options.images:
        marks = [time.perf_counter()]
        data, _, seen = preprocessor.run_case([str(image)], None, manager, configuration, predictor.dataset_json)
        marks.append(time.perf_counter())
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        marks.append(time.perf_counter())
        end = str(options.out / image.name.removesuffix("_0000.nii.gz"))
        export_prediction_from_logits(logits, seen, configuration, manager, predictor.dataset_json, end)
        marks.append(time.perf_counter())
        for name, taken in zip(("preprocess", "network", "export"), np.diff(marks).tolist(), strict=True):
            stages[name] += taken
    print(json.dumps(stages | {"grid": list(data.shape[1:])}))
    return 0


def compare_speed(options: argparse.Namespace) -> int:
    spacing, patch = ([float(n) for n in text.split(",")] for text in (options.spacing, options.patch))
    model = options.model / "model.onnx"
    if not model.exists():
        large(options.model, spacing, [int(n) for n in patch], mirror=options.mirror)
        kits("adopt", str(options.model), "--out", str(model))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        image = scan(folder / "in" / "scan_0000.nii.gz", options.slices)
        with Watch() as ours:
            kits("run", str(folder / "in"), str(folder / "ours"), "--model", str(model), "--names", "source",
                 "--precision", options.precision, "--no-memory-check")  # fmt: skip
        document = json.loads((folder / "ours" / "run.json").read_text())
        case = document["cases"][0]
        print(f"ours   {document['engine']} {options.precision}: {ours}; case alone {case['wall_seconds']:.1f} s, "
              f"{told(case['seconds'])}, {case['patches']} patches", flush=True)  # fmt: skip
        with Watch() as theirs:
            stages = nnunet(options.model, [image], folder / "theirs", mirror=options.mirror)
        print(f"nnU-Net: {theirs}; {told(stages)}; grid {stages['grid']}")
        a, b = (np.asarray(nibabel.load(folder / which / "scan.nii.gz").dataobj) for which in ("ours", "theirs"))
        print(f"the same label in {np.mean(a == b):.4%} of all voxels (random weights)")
        print(f"time {theirs.seconds / ours.seconds:.2f}, peak memory {theirs.peak / ours.peak:.2f} times ours")
    return 0


def told(seconds: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if isinstance(value, float))


class Watch:
    """Seconds of a block, and the most memory of this process's children together, asked ten times a second."""

    def __enter__(self) -> Watch:
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, sum(_resident(pid) for pid in _below(os.getpid())))

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.peak / 1e9:.2f} GB"


def _below(pid: int) -> list[int]:
    try:
        children = [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(n for child in children for n in _below(child))]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def large(folder: Path, spacing: list[float], patch: list[int], *, mirror: bool) -> None:
    """nnU-Net's plan of 31 million weights, six stages of 32 to 320 maps, random."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from tiny_nnunets import architecture, plans_of, save

    made = architecture({}, (32, 64, 128, 256, 320, 320))
    intensity = {"mean": 100.0, "std": 80.0, "percentile_00_5": -80.0, "percentile_99_5": 300.0}
    plans = plans_of({"spacing": spacing, "patch": patch}, intensity)
    plans["configurations"]["3d_fullres"]["architecture"] = made
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "kidney": 1, "tumor": 2}, "numTraining": 1,
               "file_ending": ".nii.gz"}  # fmt: skip
    torch.manual_seed(0)
    network = get_network_from_plans(made["network_class_name"], made["arch_kwargs"], made["_kw_requires_import"], 1, 3,
                                     deep_supervision=False)  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    save(folder / "fold_0" / "checkpoint_final.pth", network, plans, dataset, 0, (0, 1, 2) if mirror else None)
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} million weights", flush=True)


def scan(path: Path, slices: int) -> Path:
    """A drawn patient of 512 x 512 x n, stored x, y, z."""
    from kits_submit.phantom.draw import draw_phantom

    phantom = draw_phantom(2019, 0, spacing_mm=(214 / slices, 434 / 512, 434 / 512))
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = LPS @ np.diag([*phantom.spacing_mm[::-1], 1.0])
    nibabel.save(nibabel.Nifti1Image(np.asarray(phantom.image, np.int16).T, affine), path)
    return path


if __name__ == "__main__":
    sys.exit(main())
