"""The library's face: one call from files or arrays to a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from evaluation.case import Settings
    from kits_submit.types import Spacing

    Masks: TypeAlias = str | Path | npt.NDArray[np.integer]


def score(
    prediction: Masks,
    truth: Masks,
    protocol: str = "all",
    *,
    spacing_mm: Spacing | None = None,
    also: Sequence[str] = (),
    missing: str = "error",
    official_compat: bool = False,
    jobs: int = 1,
) -> pd.DataFrame:
    """Score predictions against label maps: a row a case (index `case`), a column a measure, and `error`.

    A case that fails (another grid, a damaged file) has NaN and the reason in `error`; the others are scored.

    >>> from evaluation import score
    >>> frame = score("predictions", "kits19/data", "kits23")            # doctest: +SKIP
    >>> frame["tumor_dice"].mean(), frame[frame.error != ""]             # doctest: +SKIP

    >>> import numpy as np
    >>> truth = np.zeros((4, 8, 8), np.uint8)
    >>> truth[1:3, 2:6, 2:6] = 2                                         # 32 voxels of tumor
    >>> prediction = truth.copy()
    >>> prediction[1:3, 2:6, 2:4] = 0                                    # 16 of them found
    >>> frame = score(prediction, truth, "paper", spacing_mm=(3.0, 0.8, 0.8))
    >>> round(float(frame.tumor_dice.iloc[0]), 4), float(frame.tumor_recall.iloc[0])
    (0.6667, 0.5)

    Args:
        prediction, truth: both folders in any KiTS layout or files (the prediction a `.zip`, too), or both label maps
            in memory (Z, Y, X, whole numbers).
        protocol: `paper`, `kits19`, `kits23` or `all`.
        spacing_mm: along Z, Y, X; of label maps in memory, which have none.
        also: measures on request: `iou`, `hd100`, `sd@2.5`, `hd95-monai`, `hd95-medpy`, `assd-medpy`, `cyst`.
        missing: a case without prediction is an `error`, all `background`, or left out (`skip`).
        official_compat: the official code's numbers, traps included; of files, `kits19` and `kits23`.
        jobs: cases at a time.

    Raises:
        InputError: nothing there, no case in common, or an option that is none.
        GeometryError: label maps in memory of two shapes.
        LabelError: a label map in memory holds a label that the protocol does not have.
    """
    from evaluation.case import Settings
    from evaluation.cohort import score_settings
    from evaluation.masks.matching import match, unzipped
    from kits_submit.errors import InputError

    settings = Settings(protocol, missing, official_compat, also=tuple(also))
    if isinstance(prediction, (str, Path)) and isinstance(truth, (str, Path)):
        with unzipped(Path(prediction)) as (folder, unusable):
            return score_settings(settings, match(folder, Path(truth), unusable), jobs).to_frame()
    if isinstance(prediction, (str, Path)) or isinstance(truth, (str, Path)):
        raise InputError("one path and one label map in memory", fix="give two paths or two arrays")
    if spacing_mm is None or official_compat:
        raise InputError(
            "label maps in memory have no spacing and no file for the official code to read",
            fix="give spacing_mm=(z, y, x), without official_compat",
        )
    return _in_memory(settings, prediction, truth, spacing_mm)


def _in_memory(
    settings: Settings, prediction: npt.NDArray[np.integer], truth: npt.NDArray[np.integer], spacing_mm: Spacing
) -> pd.DataFrame:
    from evaluation.case import score_arrays
    from evaluation.report import Report

    row = score_arrays(settings, prediction, truth, spacing_mm)
    rules = settings.rules
    return Report(rules.name, settings.keys, rules.policy, [row], {}, []).to_frame()
