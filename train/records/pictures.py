"""`curves.png` and `montage.png` of a run, by matplotlib without a display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kits_submit.atomic import replacing
from kits_submit.labels import LabelSet
from kits_submit.report.colours import colours
from kits_submit.types import Array, Image, Labels, Spacing
from train.records.journal import LOSS, VALIDATION, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES, MONTAGE = "curves.png", "montage.png"
_COLUMNS = 4
_Colour = tuple[float, float, float]  # red, green, blue, 0 to 1


@dataclass(frozen=True)
class Panel:
    """One slice (YX) of a case: standardised image, true and predicted labels, pixel size in mm along Y and X."""

    title: str
    image: Array
    truth: Labels
    predicted: Labels
    pixel_mm: tuple[float, float]


def panel_of(
    case_id: str, image: Image, truth: Labels, predicted: Labels, spacing_mm: Spacing, classes: LabelSet
) -> Panel:
    """The slice with most true tumor; without any, with most cyst or kidney; without that, the middle."""
    wanted = dict.fromkeys((*classes.tumor, *classes.mass, *classes.kidney))
    counts = [(truth == label).sum(axis=(1, 2)) for label in wanted]
    z = next((int(count.argmax()) for count in counts if count.any()), len(truth) // 2)
    return Panel(
        f"{case_id}, slice {z}", np.array(image[z], np.float32), truth[z].copy(), predicted[z].copy(), spacing_mm[1:]
    )


def draw_montage(panels: Sequence[Panel], path: Path, classes: LabelSet) -> None:
    """Truth in full lines, prediction in broken ones, a colour a class.

    Raises:
        OutputError: cannot be written.
    """
    palette = {number: (r / 255, g / 255, b / 255) for number, (r, g, b) in colours(classes).items()}
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(3.2 * columns, 3.2 * rows + 0.4)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        aspect = panel.pixel_mm[0] / panel.pixel_mm[1]
        axes.imshow(panel.image, cmap="gray", vmin=-3.5, vmax=2.0, aspect=aspect)
        for labels, style in ((panel.truth, "solid"), (panel.predicted, "dashed")):
            for label, colour in palette.items():
                _outline(axes, labels == label, colour, style)
        axes.set_title(panel.title, fontsize=8)
        axes.set_axis_off()
    _legend(figure, {classes.names[number]: colour for number, colour in palette.items()})
    _save(figure, path)


def draw_curves(folder: Path, path: Path) -> None:
    """Loss by step, its parts, the learning rate, and the held-out Dice, from the run's own CSV files.

    Raises:
        OutputError: cannot be written.
    """
    losses, scores = read_rows(folder / LOSS), read_rows(folder / VALIDATION)
    steps = np.array([int(row["step"]) for row in losses])
    figure = _figure(11, 3.6)
    left, middle, right = (figure.add_subplot(1, 3, i) for i in (1, 2, 3))
    for name in ("loss", "tversky", "focal"):
        values = np.array([float(row[name]) for row in losses])
        left.plot(steps, values, linewidth=0.4, alpha=0.35, color=f"C{('loss', 'tversky', 'focal').index(name)}")
        left.plot(steps, _smoothed(values), label=name, color=f"C{('loss', 'tversky', 'focal').index(name)}")
    left.set(xlabel="step", title="training loss")
    left.legend()
    middle.plot(steps, [float(row["learning_rate"]) for row in losses])
    middle.set(xlabel="step", title="learning rate")
    for name in (column for column in (scores[0] if scores else ()) if column.endswith("_dice")):
        at = sorted({int(row["step"]) for row in scores})
        means = [np.mean([float(row[name]) for row in scores if int(row["step"]) == step]) for step in at]
        right.plot(at, means, marker="o", markersize=3, label=name.replace("_", " "))
    right.set(xlabel="step", title="held-out cases, unrefined", ylim=(0, 1))
    if scores:
        right.legend()
    _save(figure, path)


def _smoothed(values: Array) -> Array:
    """The running mean of up to 25 values that ends at each."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - 25, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def _legend(figure: Figure, classes: dict[str, _Colour]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour, label=name) for name, colour in classes.items()]
    lines.append(Line2D([], [], color="gray", linestyle="solid", label="truth"))
    lines.append(Line2D([], [], color="gray", linestyle="dashed", label="predicted"))
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines), fontsize=8, frameon=False)


def _outline(axes: Any, mask: Array, colour: _Colour, style: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.0)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    with replacing(path) as stream:
        stream.write(drawn.getvalue())
