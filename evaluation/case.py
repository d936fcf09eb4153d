"""One case: read both masks, check geometry and labels, then measure what the protocol asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.kits import (
    CYSTS,
    KITS19,
    KITS19_OFFICIAL,
    KITS23,
    MISSING_CHOICES,
    PAPER,
    PROTOCOLS,
    TRUTH_LABELS,
    Labelset,
    Protocol,
    Target,
)
from evaluation.masks.matching import Pair, Side
from evaluation.masks.pair import MaskPair
from evaluation.measures.beyond import measure_beyond
from evaluation.measures.boxes import Bounds, foreground_boxes, tiles
from evaluation.measures.lesions import DEFAULT_RULES, Rules, find_lesions, lesion_scores
from evaluation.measures.overlap import Confusion
from evaluation.measures.requested import Request, measure_requested
from evaluation.measures.shell import Tile
from evaluation.measures.surface import SurfaceTally
from evaluation.report import Issue, Row
from kits_submit.errors import GeometryError, InputError, KitsError, LabelError
from kits_submit.types import Array, Labels, Spacing

OFFICIAL_PROTOCOLS = ("kits19", "kits23")


@dataclass(frozen=True)
class Settings:
    """How to score.

    - `protocol`: a name of `kits.PROTOCOLS`.
    - `missing`: a case without prediction is an `error`, all `background`, or left out (`skip`).
    - `official_compat`: reproduce the official code, traps included (`masks.official`).
    - `debug`: let a bug of this program end the run, where else it fails the case that met it.
    - `also`: measures on request (`measures.requested`).
    - `lesions`: find lesions, which `all` does anyway; by `lesion_rules`.
    """

    protocol: str = "all"
    missing: str = "error"
    official_compat: bool = False
    debug: bool = False
    also: tuple[str, ...] = ()
    lesions: bool = False
    lesion_rules: Rules = DEFAULT_RULES

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("protocol", self.protocol, tuple(PROTOCOLS)),
            ("missing", self.missing, MISSING_CHOICES),
        ):
            if value not in allowed:
                raise InputError(f"{name} {value!r}", fix=f"use one of {', '.join(allowed)}")
        if self.official_compat and self.protocol not in OFFICIAL_PROTOCOLS:
            raise InputError(
                f"{self.protocol} has no official code to reproduce", fix="use --protocol kits19 or --protocol kits23"
            )
        if not (0 < self.lesion_rules.iou <= 1 and self.lesion_rules.least_ml >= 0):
            raise InputError(
                f"lesions of {self.lesion_rules.least_ml:g} mL match at an IoU of {self.lesion_rules.iou:g}",
                fix="give an IoU above 0 and at most 1, and a volume of 0 or more",
            )
        _ = self.request

    @property
    def request(self) -> Request:
        """What `also` asks for."""
        return Request.of(self.also)

    @property
    def keys(self) -> tuple[str, ...]:
        """The protocol's, then those on request."""
        return tuple(dict.fromkeys(self.rules.keys + self.request.keys(self.rules.targets)))

    @property
    def rules(self) -> Protocol:
        """The protocol by its name."""
        return PROTOCOLS[self.protocol]


def score_case(settings: Settings, pair: Pair) -> Row:
    """One case's row; a failure is a row with an `error`."""
    case, *_ = pair
    try:
        prediction, truth = _files(settings, pair)
        masks = _read(settings, prediction, truth)
        boxes = foreground_boxes(masks)
        confusion = _confusion(masks, boxes)
        if not settings.official_compat:
            _refuse_labels(confusion, "prediction", settings.rules.prediction_labels, prediction)
            _refuse_labels(confusion, "truth", TRUTH_LABELS, truth)
        return measure(settings, case, masks, boxes, confusion, missing=prediction is None)
    except KitsError as error:
        return Row(case, error=Issue.of(case, error))
    except MemoryError:
        message = f"{case}: not enough memory; free some, or use fewer --jobs"
        return Row(case, error=Issue(case, "MemoryError", message, KitsError.exit_code))
    except Exception as error:
        if settings.debug:
            raise
        message = f"{case}: unexpected {type(error).__name__}; run again with --debug and report it"
        return Row(case, error=Issue(case, type(error).__name__, message, KitsError.exit_code))


def score_masks(
    prediction: Labels | None, truth: Labels, spacing_mm: Spacing, protocol: str = "all"
) -> dict[str, float]:
    """The scores of two label maps in memory (Z, Y, X, uint8), by the protocol's keys; labels are not checked.

    Args:
        prediction: None for all background.
        spacing_mm: of the truth, along Z, Y, X.
    """
    masks = MaskPair.of(prediction, truth, spacing_mm)
    boxes = foreground_boxes(masks)
    row = measure(Settings(protocol), "", masks, boxes, _confusion(masks, boxes), missing=prediction is None)
    return dict(row.scores)


def score_arrays(settings: Settings, prediction: Array, truth: Array, spacing_mm: Spacing) -> Row:
    """The row of two label maps in memory (Z, Y, X, whole numbers), checked.

    Raises:
        GeometryError: they are not 3-D, or of two shapes.
        LabelError: a value that is no label, or none of the protocol's.
    """
    if prediction.ndim != 3 or prediction.shape != truth.shape:
        raise GeometryError(
            f"prediction of shape {prediction.shape}, truth of {truth.shape}", fix="give two of one shape (Z, Y, X)"
        )
    masks = MaskPair.of(_labels("prediction", prediction), _labels("truth", truth), spacing_mm)
    boxes = foreground_boxes(masks)
    confusion = _confusion(masks, boxes)
    _refuse_labels(confusion, "prediction", settings.rules.prediction_labels, None)
    _refuse_labels(confusion, "truth", TRUTH_LABELS, None)
    return measure(settings, "case", masks, boxes, confusion, missing=False)


def _labels(of: str, array: Array) -> Labels:
    labels: Labels = array.astype(np.uint8) if array.dtype.kind in "biu" else np.zeros(0, np.uint8)
    if labels.shape != array.shape or (labels != array).any():
        raise LabelError(f"the {of} holds values that are no label", fix="give whole numbers from 0 to 255")
    return labels


def measure(
    settings: Settings, case: str, masks: MaskPair, boxes: list[Bounds], confusion: Confusion, *, missing: bool
) -> Row:
    """The row of two masks whose boxes of foreground and confusion table are known."""
    rules, request = settings.rules, settings.request
    scores: dict[str, float] = {}
    targets: list[Target] = [CYSTS] if request.cysts else []
    if rules.measures("paper"):
        scores |= _paper(confusion)
        targets += PAPER
    if rules.measures("kits19"):
        scores |= _kits19(confusion, official=settings.official_compat)
        targets += KITS19_OFFICIAL if settings.official_compat else KITS19
    tallies = _tallies(rules, request, masks, boxes)
    if rules.measures("kits23"):
        for target in KITS23:
            scores[f"{target.name}_dice"] = confusion.overlap(target.labels).dice
            scores[f"{target.name}_sd"] = tallies[target.labels].surface_dice()
        targets += KITS23
    if rules.beyond:
        scores |= measure_beyond(masks, boxes, confusion, [tallies[target.labels] for target in KITS23])
    lesions = find_lesions(masks, boxes, settings.lesion_rules) if rules.beyond or settings.lesions else []
    scores |= lesion_scores(lesions) if rules.beyond else {}
    scores |= measure_requested(request, masks, boxes, confusion, rules.targets, tallies)
    overlaps = {target.name: confusion.overlap(target.labels) for target in targets}
    told = request.targets(rules.targets)
    return Row(
        case,
        {key: scores[key] for key in settings.keys},
        {name: overlap.empty for name, overlap in overlaps.items() if overlap.empty},
        missing=missing,
        volumes_ml={t.name: _volumes_ml(confusion, t, masks.voxel_ml) for t in told},
        confusion_ml=confusion.volumes_ml(masks.voxel_ml),
        lesions=lesions,
    )


def _volumes_ml(confusion: Confusion, target: Target, voxel_ml: float) -> tuple[float, float]:
    """True and predicted."""
    overlap = confusion.overlap(target.labels)
    return overlap.truth * voxel_ml, overlap.prediction * voxel_ml


def _files(settings: Settings, pair: Pair) -> tuple[Path | None, Path]:
    case, *sides = pair
    prediction, truth = (_usable(side) for side in sides)
    if truth is None:
        raise InputError(f"{case}: no label map", fix="give its label map", path=prediction)
    if prediction is None and settings.missing != "background":
        raise InputError(f"{case}: no prediction", fix="predict it, or say --missing background or --missing skip")
    return prediction, truth


def _usable(side: Side) -> Path | None:
    if isinstance(side, KitsError):
        raise side
    return side


def _read(settings: Settings, prediction: Path | None, truth: Path) -> MaskPair:
    if settings.official_compat:
        from evaluation.masks.official import read_officially

        return read_officially(settings.protocol, prediction, truth)
    from evaluation.masks.reading import read_pair

    return read_pair(prediction, truth)


def _confusion(masks: MaskPair, boxes: list[Bounds]) -> Confusion:
    confusion = Confusion()
    for bounds in tiles(boxes):
        confusion.add(masks, bounds)
    return confusion


def _paper(confusion: Confusion) -> dict[str, float]:
    scores = {}
    for target in PAPER:
        overlap = confusion.overlap(target.labels)
        scores[f"{target.name}_dice"] = overlap.dice
        scores[f"{target.name}_recall"] = overlap.recall
        scores[f"{target.name}_precision"] = overlap.precision
    return scores


def _kits19(confusion: Confusion, *, official: bool) -> dict[str, float]:
    """Officially 0 / 0 is NaN: NumPy warns where its code waits for ZeroDivisionError."""
    scores = {}
    for target in KITS19_OFFICIAL if official else KITS19:
        overlap = confusion.overlap(target.labels)
        undefined = official and overlap.empty == "both"
        scores[f"{target.name}_dice"] = float("nan") if undefined else overlap.dice
    return scores | {"composite": (scores["tk_dice"] + scores["tu_dice"]) / 2}


def _tallies(rules: Protocol, request: Request, masks: MaskPair, boxes: list[Bounds]) -> dict[Labelset, SurfaceTally]:
    """By labels, the surfaces that the protocol and the request need, collected in one pass."""
    wanted = {target.labels: target for target in KITS23} if rules.measures("kits23") else {}
    if request.surfaces:
        more = {target.labels: target for target in request.targets(rules.targets)}
        wanted = {labels: replace(target, tolerance_mm=1.0) for labels, target in more.items()} | wanted
    with_distances = rules.beyond or request.surfaces
    tallies = {
        labels: SurfaceTally(target, masks.spacing_mm, with_distances=with_distances)
        for labels, target in wanted.items()
    }
    if not tallies:
        return {}
    z, y, x = np.max([tally.halo for tally in tallies.values()], axis=0)
    for bounds in tiles(boxes):
        tile = Tile(masks, bounds, (int(z), int(y), int(x)))
        for tally in tallies.values():
            tally.add(tile)
    return tallies


def _refuse_labels(confusion: Confusion, of: str, allowed: Iterable[int], path: Path | None) -> None:
    wrong = {value: voxels for value, voxels in confusion.values(of).items() if value not in allowed}
    if wrong:
        told = ", ".join(f"{value} ({voxels} voxels)" for value, voxels in list(wrong.items())[:4])
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise LabelError(
            f"the {of} holds label {told}{more}; allowed are {', '.join(map(str, sorted(allowed)))}",
            fix="map it to one of these" + (", or score cysts with --protocol kits23" if set(wrong) == {3} else ""),
            path=path,
        )
