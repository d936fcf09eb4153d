"""Whether means are as good as asked (`--fail-under KEY=VALUE`), for continuous integration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evaluation.kits import badness, how_bad
from evaluation.report import Report
from kits_submit.errors import InputError, ThresholdError


def read_thresholds(asked: Sequence[str], keys: Sequence[str]) -> dict[str, float]:
    """Each `KEY=VALUE`.

    Raises:
        InputError: not of this form, a key that is not measured, or one that is neither good nor bad.
    """
    found = {}
    for text in asked:
        key, equals, value = text.partition("=")
        try:
            found[key] = float(value) if equals else math.nan
        except ValueError:
            found[key] = math.nan
        if not math.isfinite(found[key]):
            raise InputError(f"--fail-under {text}", fix="say KEY=VALUE, tumor_dice=0.8")
        if key not in keys or not badness(key):
            raise InputError(
                f"--fail-under {text}: {key} is not measured", fix=f"use one of {', '.join(filter(badness, keys))}"
            )
    return found


def check_thresholds(report: Report, thresholds: Mapping[str, float]) -> None:
    """Compare each mean, of volume errors that of their sizes; one that is undefined is not good enough.

    Raises:
        ThresholdError: one is worse than asked.
    """
    worse = []
    for key, threshold in thresholds.items():
        summary = report.aggregate[key]
        mean = (summary.absolute or summary).mean
        if not how_bad(key, mean) <= how_bad(key, threshold):
            worse.append(f"{key} {mean:.4f}, wanted {'at least' if badness(key) < 0 else 'at most'} {threshold:g}")
    if worse:
        raise ThresholdError("; ".join(worse), fix="the mean is worse than --fail-under allows")
