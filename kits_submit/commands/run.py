"""`kits-submit run`: segment a folder of cases, and score the masks where labels are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kits_submit.commands.options import (
    Also,
    Device,
    DeviceOption,
    ModelOption,
    Names,
    OnFailure,
    Precision,
    PrecisionOption,
    ScoredBy,
    ThreadsOption,
)
from kits_submit.places import DEFAULT_MODEL


def run_command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of KiTS cases, an image, or a DICOM export.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for masks, scores and run.json.")],
    *,
    model: ModelOption = DEFAULT_MODEL,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps to score against. Default: those beside the images.")
    ] = None,
    device: DeviceOption = Device.auto,
    protocol: Annotated[
        ScoredBy | None, typer.Option(help="How to score. Default: paper; kits23 for a model with cysts.")
    ] = None,
    on_failure: Annotated[
        OnFailure,
        typer.Option(help="A case that fails has no mask, or an all-background one where its header can be read."),
    ] = OnFailure.error,
    upload: Annotated[
        bool, typer.Option("--zip", help="Also write predictions.zip for the round's test cases.")
    ] = False,
    judged: Annotated[
        str | None,
        typer.Option("--round", help="Whose upload: kits19 (210 to 299), kits23 (589 to 698). Default: by the labels."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do again what an earlier run into OUTPUT did.")] = False,
    memory_check: Annotated[
        bool, typer.Option(help="Refuse a case that would not fit into memory, before anything is computed.")
    ] = True,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Fail rather than run on the CPU.")] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Cases read ahead of the network, and finished behind it, at once.")
    ] = 1,
    patch: Annotated[str | None, typer.Option(help="Patch as Z,Y,X voxels. Default: the model's.")] = None,
    margin: Annotated[str | None, typer.Option(help="Voxels discarded at a patch's inner faces, Z,Y,X.")] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Blend whole patches by Gaussian weights at this overlap; discards no margin.")
    ] = None,
    threads: ThreadsOption = None,
    precision: PrecisionOption = Precision.fp32,
    fast: Annotated[
        bool, typer.Option("--fast", help="Of an adopted model: no mirroring, less overlap, one of its folds.")
    ] = False,
    hu_offset: Annotated[
        float, typer.Option(help="Added to each value of the images: -1024 for CT that is stored +1024.")
    ] = 0.0,
    names: Annotated[
        Names,
        typer.Option(
            envvar="KITS_NAMES", help="kits: prediction_00042.nii.gz. source: as the image, without nnU-Net's _0000."
        ),
    ] = Names.kits,
    as_json: Annotated[bool, typer.Option("--json", help="Print run.json on stdout in place of the tables.")] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also draw a PNG a case: three planes with the masks' contours.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write report.html: one page to look at, with the scans in it.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="I/N: of N shards, balanced by bytes, do this one; auto: what SLURM or Kubernetes says."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Run on a Ray cluster: HOST:PORT of its head, or auto on one of its nodes."
        ),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="Keep cases, cases a second and time left in this file, as Prometheus reads it.")
    ] = None,
    case_log: Annotated[
        Path | None, typer.Option(help="Append a line of JSON a case to this file, as each ends.")
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option(help="Of a DICOM export, this series alone: its UID, or its name in the table.")
    ] = None,
    also: Annotated[
        list[Also] | None, typer.Option(help="Of a DICOM series, beside its Segmentation; may be given more than once.")
    ] = None,
) -> None:
    """Segment each case of INPUT, write masks on the input's exact grid, and score them where labels are.

    A run that was stopped is resumed: cases done already, from the same input by the same model, are kept.
    """
    from kits_submit.batch.shards import parse_shard
    from kits_submit.commands.session import Request, Session
    from kits_submit.errors import UsageError
    from kits_submit.files.parts import WHOLE
    from kits_submit.files.remote.reach import Reach

    part = WHOLE if shard is None else parse_shard(shard)
    if not part.is_whole and (report or upload):
        raise UsageError("--shard with --report or --zip, which are of all cases", fix="merge the shards first")
    with Reach() as reach:
        source, output, model = reach.read(source), reach.write(output, part), reach.fetch(model)
        labels = None if labels is None else reach.read(labels)
        if cluster is not None:  # nobody else has this working folder
            source, output = source.absolute(), output.absolute()
        request = Request(
            source=source, output=output, model=model, labels=labels, device=device.value,
            protocol=None if protocol is None else protocol.value, on_failure=on_failure, upload=upload, fresh=fresh,
            memory_check=memory_check, require_gpu=require_gpu, jobs=jobs, patch=patch, margin=margin, overlap=overlap,
            pictures=pictures, report=report, judged=judged, hu_offset=hu_offset, threads=threads, names=names,
            as_json=as_json, series=tuple(series or ()), also=tuple(also or ()), part=part, cluster=cluster,
            metrics=metrics, case_log=case_log, precision=precision.value, fast=fast,
        )  # fmt: skip
        code = Session(request).run()
    raise typer.Exit(code)
