"""Do the labels of a dataset mean what the label set says? From counts of voxels alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from kits_submit.errors import InputError, LabelError
from kits_submit.labels import LabelSet
from train.data.cache import CachedCase
from train.data.fingerprint import CaseFacts
from train.data.splits import Split

_LEAST_CASES = 3


def refuse_swapped(cases: Sequence[CachedCase], labels: LabelSet) -> None:
    """Raises: LabelError: tumor is larger than kidney in more than half of at least three cases with both.

    It is in 6 of KiTS23's first 60 cases; of all 210 of KiTS19 the medians are 408 mL of kidney and 30 mL of tumor.
    """
    if len(labels.kidney) != 1 or len(labels.tumor) != 1:
        return
    kidney, tumor = labels.kidney[0], labels.tumor[0]
    counts = [(len(case.by_class[kidney - 1]), len(case.by_class[tumor - 1])) for case in cases]
    both = [(k, t) for k, t in counts if k and t]
    larger = sum(t > k for k, t in both)
    if len(both) >= _LEAST_CASES and 2 * larger > len(both):
        raise LabelError(
            f"labels {kidney} and {tumor} look swapped: {tumor}, tumor, is larger than {kidney}, kidney, in {larger} "
            f"of {len(both)} cases",
            fix=f"map them to {kidney} kidney and {tumor} tumor",
        )


def refuse_leaks(facts: Sequence[CaseFacts], split: Split) -> list[str]:
    """A line on each two cases of one scan that are on the same side of the split.

    One scan: the same image file, or the very same foreground HU at the same spacing (a file compressed anew).

    Raises:
        InputError: two of one scan, of which one trains and one validates.
    """
    lines = []
    first: dict[object, str] = {}
    for fact in facts:
        keys: list[object] = [fact.image_sha256 or fact.case_id]
        if fact.foreground:
            keys.append((fact.spacing_mm, hashlib.sha256(fact.histogram.tobytes()).digest()))
        twin = next((first[key] for key in keys if key in first), None)
        for key in keys:
            first.setdefault(key, fact.case_id)
        if twin is None:
            continue
        if (twin in split.train) != (fact.case_id in split.train):
            raise InputError(
                f"{twin} and {fact.case_id} are one scan, of which one would train and the other validate",
                fix=f"remove one, or leave it out by --omit-cases {fact.case_id}",
            )
        lines.append(f"{twin} and {fact.case_id} are one scan")
    return lines
