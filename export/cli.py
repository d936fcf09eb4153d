"""`kits-submit export`: a run or a checkpoint to an ONNX file and its parity report. torch is imported inside alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from export import DEPTHWISE_FORMS, HALF_FORM
from kits_submit.errors import InputError
from train import best_of


def export_command(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="Run folder or checkpoint; with --half or --depthwise a model. Default: the newest run.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The ONNX file; its parity report goes beside it.")] = Path(
        "build/kits.onnx"
    ),
    tumor_shift: Annotated[
        float, typer.Option(help="Added to the tumor's logit: above 0 marks more tumor and misses less.")
    ] = 0.0,
    patch: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Patches to infer in, at most. Default: the run's.")
    ] = None,
    margin: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Outer voxels to discard of each. Default: the run's.")
    ] = None,
    half: Annotated[
        bool,
        typer.Option(
            "--half", help="An exported model (.onnx) once more, in fp16 and with `--depthwise dense`, for GPUs."
        ),
    ] = False,
    depthwise: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(DEPTHWISE_FORMS),
            help="An exported model once more, its depthwise convolutions written otherwise, for GPUs.",
        ),
    ] = None,
) -> None:
    """Write a checkpoint as one ONNX file with its Recipe inside, checked against torch."""
    from rich.console import Console

    if half or depthwise is not None:
        for option, given in (("--tumor-shift", tumor_shift), ("--patch", patch), ("--margin", margin)):
            if given:
                raise InputError(f"{option} is for a run, not for a model", fix="export it so, then rewrite the model")
        written = export_rewritten(source, out, half=half, depthwise=depthwise)
        how = f"{HALF_FORM}, fp16" if half else depthwise
        Console(stderr=True).print(
            f"{source} -> {out} ({written / 1e6:.2f} MB, {how})", highlight=False, soft_wrap=True
        )
        return
    checkpoint = newest_checkpoint(Path("runs")) if source is None else checkpoint_of(source)
    report = out.with_suffix(".parity.json")
    difference, size = export(checkpoint, out, report, tumor_shift, patch, margin)
    Console(stderr=True).print(
        f"{checkpoint} -> {out} ({size / 1e6:.2f} MB); torch and ONNX Runtime differ by at most {difference:.1e} "
        f"({report})",
        highlight=False,
        soft_wrap=True,
    )


def export(
    checkpoint: Path,
    out: Path,
    report: Path,
    tumor_shift: float = 0.0,
    patch: str | None = None,
    margin: str | None = None,
) -> tuple[float, int]:
    """Export, verify, then write: (largest difference of a logit, bytes of the file).

    Args:
        patch, margin: as of `kits-submit run`, into the Recipe; None: as trained.

    Raises:
        InputError, ModelError: the checkpoint cannot be used, no such plan, or the graph differs from it.
        OutputError: cannot be written.
    """
    from export.crop import crop_of
    from export.onnx import to_onnx
    from export.verify import demand_parity, verify, write_report
    from kits_submit.atomic import replacing
    from kits_submit.commands.plan import patch_plan
    from train.fit.checkpoint import load_checkpoint

    trained = load_checkpoint(checkpoint).leaning(tumor_shift)
    trained = trained.planned(patch_plan(trained.recipe, patch, margin, None))
    graph = to_onnx(trained)
    content = graph.SerializeToString()
    parity = verify(content, trained.network(), trained.recipe, crop=crop_of(graph))
    demand_parity(parity)
    with replacing(out) as stream:
        stream.write(content)
    write_report(parity, report)
    return parity.max_difference, len(content)


def export_rewritten(source: Path | None, out: Path, *, half: bool = False, depthwise: str | None = None) -> int:
    """An exported model with its depthwise convolutions written otherwise, and in fp16 if `half`; bytes of the file.

    In fp16 they are always dense: cuDNN has no plan for them as they are, and runs them slower than in fp32.

    Raises:
        InputError: no model is named, `out` is the model itself, another form than `export.DEPTHWISE_FORMS`, or slices
            in fp16.
        ModelError: not a model of ours, or its answers do not stay.
        OutputError: cannot be written.
    """
    from export.depthwise import has_depthwise, rewrite_depthwise
    from export.half import to_half
    from kits_submit.atomic import replacing
    from kits_submit.engine.model import load_model

    if depthwise not in (None, *DEPTHWISE_FORMS):
        raise InputError(f"--depthwise is {depthwise!r}", fix=f"use one of {', '.join(DEPTHWISE_FORMS)}")
    if half and depthwise not in (None, HALF_FORM):
        raise InputError(f"--half with --depthwise {depthwise}", fix=f"in fp16 they are {HALF_FORM} in any case")
    if source is None or source.suffix != ".onnx":
        raise InputError("--half and --depthwise take an exported model", fix="name an .onnx file", path=source)
    if out.resolve() == source.resolve():
        raise InputError("the rewritten model would replace its source", fix="give another --out", path=out)
    model = load_model(source)
    if half and has_depthwise(model):
        depthwise = HALF_FORM
    if depthwise is not None:
        model = replace(model, content=rewrite_depthwise(model, depthwise))
    content = to_half(model) if half else model.content
    with replacing(out) as stream:
        stream.write(content)
    return len(content)


def checkpoint_of(source: Path) -> Path:
    """A checkpoint itself, or a run folder's best: of its second stage, where that has begun.

    Raises:
        InputError: neither.
    """
    path = best_of(source) if source.is_dir() else source
    if path is None or not path.is_file():
        raise InputError("no checkpoint there", fix="give a run folder of `kits-submit train`", path=source)
    return path


def newest_checkpoint(runs: Path) -> Path:
    """The best of the run under RUNS that wrote its own last.

    Raises:
        InputError: none there.
    """
    bests = [best for run in runs.glob("*") if (best := best_of(run)) is not None]
    if not bests:
        raise InputError("no run in it", fix="train first (`kits-submit train`) or name a checkpoint", path=runs)
    return max(bests, key=lambda path: path.stat().st_mtime)
