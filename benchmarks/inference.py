"""How fast is a case, of what is it made, and how do we stand beside the peers?

Everything is measured in one run. `network`, `loop` and `whole` take one network of random weights with the shipped
Recipe, written to ONNX by our exporter; `whole` and `growth` take the shipped model, for random weights find foreground
everywhere. Prints ratios; writes build/bench/inference.json. Peers: `pip install -r benchmarks/requirements.txt`
(MONAI, nnU-Net); without them their lines are left out, and said to be.

    python benchmarks/inference.py --parts network,loop,whole,growth
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from peers import OVERLAP, PATCH, monai_loop, nnunet_loop, nnunet_path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
LOOP_SHAPES = (
    "96,192,192",
    "81,133,133",
)  # the second: KiTS19's median scan, 108 slices of 3 mm, on the network's grid
_PATIENT_MM = (214.0, 434.0)  # what the first phantom of seed 2019 takes up, along z and across
NETWORK_FLOP = 53e3  # a voxel
SLICES = (50, 100, 200, 500, 1059)
SHIPPED = ROOT / "models" / "kits.onnx"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="network,loop,whole,growth")
    parser.add_argument("--slices", default=",".join(map(str, SLICES)), help="of the cases whose growth is measured")
    parser.add_argument("--loop-shapes", default=LOOP_SHAPES, nargs="+", help="voxels of the patch loop's inputs")
    parser.add_argument("--whole-slices", default="100,500", help="of the cases run file to file beside nnU-Net")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("nnUNet_raw", ""), os.environ.setdefault("nnUNet_preprocessed", "")
    os.environ.setdefault("nnUNet_results", "")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        network, model = exported(Path(folder))
        for part in options.parts.split(","):
            print(f"\n{part}")
            if part == "network":
                result[part] = network_alone(model)
            elif part == "loop":
                result[part] = {shape: patch_loop(network, model, numbers(shape)) for shape in options.loop_shapes}
            elif part == "whole":
                result[part] = whole_case(network, model, numbers(options.whole_slices), Path(folder))
            elif part == "growth":
                result[part] = growth(SHIPPED, numbers(options.slices), Path(folder))
            else:
                parser.error(f"no part {part}")
    out = ROOT / "build" / "bench" / "inference.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps(known | result, indent=1) + "\n")
    print(f"written: {out.relative_to(ROOT)}")
    return 0


def exported(folder: Path) -> tuple[Any, Path]:
    """A network of random weights, and its ONNX file with the shipped Recipe."""
    import torch

    from export.onnx import network_to_onnx
    from kits_submit.engine.model import load_model
    from train.network.deeplab import DeepLab3D

    torch.manual_seed(0)
    network = DeepLab3D().eval()
    path = folder / "network.onnx"
    path.write_bytes(network_to_onnx(network, load_model(SHIPPED).recipe).SerializeToString())
    return network, path


def engines(model: Path) -> dict[str, Any]:
    from kits_submit.engine.model import load_model
    from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
    from kits_submit.engine.openvino import OpenVinoEngine

    content = load_model(model).content
    return {"openvino fp32": OpenVinoEngine(content), "onnxruntime fp32": OnnxRuntimeEngine(content, "cpu")}


def network_alone(model: Path) -> dict[str, Any]:
    """Throughput on one large patch and on eight small ones, as a share of a large matrix product's."""
    a = np.random.default_rng(0).standard_normal((4096, 4096)).astype(np.float32)
    peak = 2 * 4096**3 / fastest(lambda: a @ a, 5)
    found: dict[str, Any] = {"peak_gflop_s": peak / 1e9}
    print(f"  {'large matrix product':<28}{peak / 1e9:>8.0f} GFLOP/s")
    for name, engine in engines(model).items():
        for shape in ((1, 1, 96, 96, 96), (8, 1, PATCH, PATCH, PATCH)):
            batch = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            engine.run(batch)
            rate = batch.size / fastest(lambda e=engine, b=batch: e.run(b), 5)  # type: ignore[misc]
            share = rate * NETWORK_FLOP / peak
            label = f"{name}, {shape[0]} x {shape[-1]}"
            print(f"  {label:<28}{rate * NETWORK_FLOP / 1e9:>8.0f} GFLOP/s {share:>6.0%} {rate / 1e6:>6.2f} Mvoxel/s")
            found[label] = {"share_of_peak": share, "mvoxel_s": rate / 1e6}
    return found


def patch_loop(network: Any, model: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """One image through each patch loop, neighbours half a patch over each other, and by the shipped model's plan.

    Peers blend whole patches by Gaussian weights; ours does so on request, and else discards the outer voxels (paper
    section 2.4), which need not be decoded.
    """
    from kits_submit.engine.model import load_model
    from kits_submit.inference.patches import PatchPlan
    from kits_submit.inference.stitch import batch_size, stitch

    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    loaded = load_model(model)
    recipe = loaded.recipe
    edges, quarter = (PATCH,) * 3, (round(PATCH * OVERLAP / 2),) * 3
    shipped = PatchPlan.of(recipe)
    plans = {
        "overlap 0.5, blended": PatchPlan(edges, quarter, recipe.multiple, OVERLAP),
        "overlap 0.5, outer discarded": PatchPlan(edges, quarter, recipe.multiple),
    }
    if shipped not in plans.values():
        plans[f"shipped plan {shipped.patch[0]}, {shipped.margin[0]}"] = shipped
    loops: dict[str, Callable[[], Any]] = {}
    if importlib.util.find_spec("monai"):
        loops["MONAI"] = monai_loop(network, image)
    if importlib.util.find_spec("nnunetv2"):
        loops["nnU-Net"] = nnunet_loop(network, image)
    for name, engine in engines(model).items():
        for plan_name, plan in plans.items():
            loops[f"ours, {name}, {plan_name}"] = lambda e=engine, p=plan: stitch(  # type: ignore[misc]
                image, recipe, e, outside=-2.0, batch_size=batch_size(e, p.size(image.shape)), plan=p, crop=loaded.crop
            )
    seconds = in_turn(loops, ROUNDS)
    peers = [name for name in loops if not name.startswith("ours")]
    print(f"  {' x '.join(map(str, shape)):<52}{'Mvoxel/s':>9}" + "".join(f"{f'of {peer}':>20}" for peer in peers))
    found: dict[str, Any] = {}
    for name, taken in seconds.items():
        ratios = {peer: sorted(p / t for p, t in zip(seconds[peer], taken, strict=True)) for peer in peers}
        told = "".join(f"{f'{median(r):.2f} ({r[0]:.2f}-{r[-1]:.2f})':>20}" for r in ratios.values())
        print(f"  {name:<52}{image.size / min(taken) / 1e6:>9.3f}{told}")
        found[name] = {"seconds": taken, "ratio": {peer: median(r) for peer, r in ratios.items()}}
    return found


def whole_case(network: Any, model: Path, slices: tuple[int, ...], folder: Path) -> dict[str, Any]:
    """A drawn patient, file to file, ours as it comes; nnU-Net's reader, predict_single_npy_array and writer.

    One Recipe and one architecture. Ours with the shipped weights, and with random ones, which mark foreground all
    over; nnU-Net with random ones, for what it does does not depend on the answer.
    """
    from kits_submit.engine.model import load_model
    from kits_submit.phantom import write_phantoms

    recipe = load_model(model).recipe
    found = {}
    for count in slices:
        spacing_mm = (_PATIENT_MM[0] / count, _PATIENT_MM[1] / 512, _PATIENT_MM[1] / 512)
        (case,) = write_phantoms(folder / f"patient_{count}", 1, 2019, spacing_mm=spacing_mm)
        entry = run(case, SHIPPED, folder / "out" / f"{count}")
        row = {
            "ours_s": entry["wall_seconds"],
            "ours_random_s": run(case, model, folder / "out" / f"{count}_random")["wall_seconds"],
            "network_share": entry["seconds"]["network"] / entry["wall_seconds"],
            "peak_mb": entry["peak_mb"],
            "unzipping_s": fastest(lambda c=case: unzip(c / "imaging.nii.gz"), 3),  # type: ignore[misc]
        }
        told = (
            f"ours {row['ours_s']:.2f} s, {row['network_share']:.0%} of it in the network, {row['peak_mb']:.0f} MB; "
            f"its file unzipped alone {row['unzipping_s']:.2f} s; with random weights {row['ours_random_s']:.1f} s"
        )
        if importlib.util.find_spec("nnunetv2"):
            row["nnunet_s"] = fastest(nnunet_path(network, recipe, case, folder / "nnunet"), 1)
            row["ratio"] = row["nnunet_s"] / row["ours_s"]
            row["ratio_random"] = row["nnunet_s"] / row["ours_random_s"]
            told += f"; nnU-Net {row['nnunet_s']:.0f} s: {row['ratio']:.1f} and {row['ratio_random']:.1f} times as long"
        else:
            told += "; nnU-Net not installed"
        print(f"  512 x 512 x {count}: {told}")
        found[str(count)] = row
    return found


def growth(model: Path, slices: tuple[int, ...], folder: Path) -> dict[str, Any]:
    """Time by stage and peak memory of cases of 512 x 512 x n, float64, each in a process of its own."""
    found: dict[str, Any] = {}
    stages = ("read", "resample", "network", "restore", "refine", "write")
    heads = "".join(f"{stage:>10}" for stage in stages)
    print(f"  {'slices':>8}{'wall s':>8}{'unzip s':>9}{'network':>9}{'peak MB':>9}   {heads}")
    for count in slices:
        folder_of_case = phantom(folder, count)
        case = run(folder_of_case, model, folder / "out")
        unzipping = fastest(lambda f=folder_of_case: unzip(f / "imaging.nii.gz"), 3)  # type: ignore[misc]
        share = case["seconds"]["network"] / case["wall_seconds"]
        told = "".join(f"{case['seconds'].get(stage, 0):>10.2f}" for stage in stages)
        print(f"  {count:>8}{case['wall_seconds']:>8.2f}{unzipping:>9.2f}{share:>9.0%}{case['peak_mb']:>9.0f}   {told}")
        kept = {key: case[key] for key in ("wall_seconds", "peak_mb", "seconds")}
        found[str(count)] = {"network_share": share, "unzipping_s": unzipping} | kept
    return found


def run(case: Path, model: Path, out: Path) -> dict[str, Any]:
    """The manifest's entry of one case, run by the command line."""
    command = [sys.executable, "-m", "kits_submit", "run", str(case), str(out), "--model", str(model)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    entry: dict[str, Any] = json.loads((out / "run.json").read_text())["cases"][0]
    return entry


def unzip(path: Path) -> None:
    """All of a .gz file, by the decoder that ours uses: no case can take less."""
    from isal import igzip

    buffer = bytearray(1 << 20)
    with igzip.open(path, "rb") as stream:
        while stream.readinto(buffer):
            pass


def phantom(folder: Path, slices: int) -> Path:
    """A body in air as KiTS stores it: float64, 512 x 512 x n, 0.78 mm, 0.55 m long whatever the slices."""
    import nibabel

    from kits_submit.atomic import replacing

    case = folder / f"case_{slices:05d}"
    if not case.is_dir():
        case.mkdir()
        y, x = np.ogrid[-1:1:512j, -1:1:512j]
        inside = (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1
        hu = np.where(inside, np.float32(40), np.float32(-1000))
        noise = np.random.default_rng(0).integers(-60, 60, (8, 512, 512)).astype(np.float32)
        affine = np.array([[0, 0, -0.78125, 0], [0, -0.78125, 0, 0], [-550 / slices, 0, 0, 0], [0, 0, 0, 1.0]])
        voxels = np.empty((slices, 512, 512), np.float64)
        for i in range(slices):
            voxels[i] = hu + noise[i % 8]
        with replacing(case / "imaging.nii.gz") as stream:
            from isal import igzip

            with igzip.IGzipFile(filename="", mode="wb", compresslevel=1, fileobj=stream, mtime=0) as packed:
                packed.write(nibabel.Nifti1Image(voxels, affine).to_bytes())
    return case


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def in_turn(loops: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, once a round, so that what else the machine does in a while slows all of them."""
    return {
        name: list(taken)
        for name, taken in zip(
            loops,
            zip(*([fastest(loop, 1) for loop in loops.values()] for _ in range(rounds)), strict=True),
            strict=True,
        )
    }


def fastest(work: Callable[[], Any], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


if __name__ == "__main__":
    sys.exit(main())
