"""A run's numbers as they come: CSV files that grow by whole lines, and TensorBoard's events.

    loss.csv         step, epoch, loss, tversky, focal, learning_rate: the same bytes however often it was interrupted
    timing.csv       step, seconds, data_s (waiting for patches), patches, gpu_mb
    validation.csv   step, epoch, case_id, the protocol's six measures (`train.records.reports`)

A training that goes on from a checkpoint of step n first drops every line after n.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kits_submit.atomic import replacing
from kits_submit.errors import OutputError
from train.records.reports import CaseScore, Scored, StepReport, mean_score

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOSS, TIMING, VALIDATION = "loss.csv", "timing.csv", "validation.csv"
HEADS = {
    LOSS: ("step", "epoch", "loss", "tversky", "focal", "learning_rate"),
    TIMING: ("step", "seconds", "data_s", "patches", "gpu_mb"),
}


class Journal:
    """Open for one training that stands at `step`."""

    def __init__(self, folder: Path, *, step: int, tensorboard: bool, scored: type[Scored] = CaseScore) -> None:
        """`scored`: what `validated` will be told."""
        self._folder = folder
        heads = HEADS | {VALIDATION: ("step", "epoch", "case_id", *scored.measures())}
        for name, head in heads.items():
            _keep_until(folder / name, head, step)
        self._writer: SummaryWriter | None = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def stepped(self, report: StepReport) -> None:
        """One step's line in each file."""
        for name in (LOSS, TIMING):
            self._append(name, [[getattr(report, column) for column in HEADS[name]]])
        for name in ("loss", "tversky", "focal", "learning_rate", "seconds", "data_s", "gpu_mb"):
            self._scalar(f"train/{name}", getattr(report, name), report.step)

    def validated(self, step: int, epoch: int, scores: Sequence[Scored]) -> None:
        """A line a case."""
        self._append(VALIDATION, ([step, epoch, *astuple(score)] for score in scores))
        mean = mean_score(scores)
        for name in mean.measures():
            self._scalar(f"validation/{name}", getattr(mean, name), step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """A PNG file for TensorBoard."""
        if self._writer is not None:
            import numpy as np
            from PIL import Image

            with Image.open(path) as image:
                self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def _append(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        path = self._folder / name
        try:
            with path.open("a", newline="") as stream:
                stream.write(_lines(rows))
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"cannot be written ({reason})", fix="check space and permissions", path=path) from None

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The whole lines of a journal's file."""
    text = path.read_text() if path.is_file() else ""
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))


def write_scores(path: Path, rows: Sequence[tuple[str, Scored]], scored: type[Scored] = CaseScore) -> None:
    """`masks` (what was scored), then a case's measures.

    Raises:
        OutputError: cannot be written.
    """
    with replacing(path) as stream:
        stream.write(
            _lines(
                [("masks", "case_id", *scored.measures()), *((what, *astuple(score)) for what, score in rows)]
            ).encode()
        )


def _keep_until(path: Path, head: Sequence[str], step: int) -> None:
    kept = [row for row in read_rows(path) if row["step"].isdigit() and int(row["step"]) <= step]
    with replacing(path) as stream:
        stream.write(_lines([head, *([row[name] for name in head] for row in kept)]).encode())


def _lines(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_plain(value) for value in row] for row in rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    return f"{value:.9g}" if isinstance(value, float) else value
