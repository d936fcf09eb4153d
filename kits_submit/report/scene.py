"""`Scene`: one case as it is looked at: scan, prediction and label on one grid, read once for all pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kits_submit.errors import GeometryError
from kits_submit.files.volume import read_labels, read_volume
from kits_submit.labels import LabelSet, volume_ml
from kits_submit.report.findings import Finding, errors_of, lesions_of
from kits_submit.types import Image, Labels, Spacing


@dataclass(frozen=True)
class Scene:
    """Arrays of one shape (Z, Y, X).

    - `spacing_mm`: the edges of a voxel's box (`Grid.box_mm`), so that volumes are those of the run.
    - `hu`: None where the scan is not at hand. `truth`: None without a label; a class that `labels` lacks is kidney in
      it, as KiTS19 counts a cyst.
    """

    case: str
    hu: Image | None
    predicted: Labels
    truth: Labels | None
    spacing_mm: Spacing
    labels: LabelSet

    @cached_property
    def lesions(self) -> list[Finding]:
        """Masses and kidneys of the prediction, then of the label, largest first."""
        found = lesions_of(self.predicted, self.labels, self.spacing_mm, "prediction")
        if self.truth is not None:
            found += lesions_of(self.truth, self.labels, self.spacing_mm, "label")
        return found

    @cached_property
    def errors(self) -> list[Finding]:
        """Where prediction and label differ, largest first; empty without a label."""
        return [] if self.truth is None else errors_of(self.predicted, self.truth, self.labels, self.spacing_mm)

    def volumes_ml(self, mask: Labels) -> dict[str, float]:
        """Volume by class name; `kidney` without its masses."""
        return {
            self.labels.names[n]: volume_ml(int(np.count_nonzero(mask == n)), self.spacing_mm)
            for n in self.labels.foreground
        }


def read_scene(
    case: str,
    image: Path | None,
    prediction: Path,
    label: Path | None = None,
    *,
    labels: LabelSet,
    hu_offset: float = 0.0,
) -> Scene:
    """Read one case.

    Args:
        labels: the classes of both masks.
        hu_offset: added to each value of the image.

    Raises:
        VolumeError, LabelError: a file cannot be read.
        GeometryError: two of them differ in shape.
    """
    predicted = read_labels(prediction)
    truth = None if label is None else read_labels(label).voxels
    hu = None if image is None else read_volume(image, hu_offset).voxels
    for other, path in ((hu, image), (truth, label)):
        if other is not None and other.shape != predicted.voxels.shape:
            raise GeometryError(
                f"shape {other.shape}, mask {predicted.voxels.shape}", fix="draw masks of this image", path=path
            )
    known, spacing_mm = (_known(mask, labels) for mask in (predicted.voxels, truth)), predicted.grid.box_mm
    drawn, true = known
    assert drawn is not None
    return Scene(case, hu, drawn, true, spacing_mm, labels)


def _known(mask: Labels | None, labels: LabelSet) -> Labels | None:
    """The mask with each value that is no class of `labels` taken for kidney, or for the first class."""
    if mask is None or int(mask.max(initial=0)) < len(labels):
        return mask
    instead = (*labels.kidney, *labels.foreground)[0]
    return np.where(mask < len(labels), mask, np.uint8(instead)).astype(np.uint8)
