"""Which cases train and which validate, by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """Case ids, each side sorted, none in both."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def split_cases(case_ids: Sequence[str], *, holdout: float, seed: int) -> Split:
    """Hold out the share `holdout`, rounded; at least one case trains. 210 cases at 0.3: the paper's 147 and 63.

    Depends on the set of ids and the seed, not on their order.
    """
    ordered = sorted(case_ids)
    held = min(round(holdout * len(ordered)), max(len(ordered) - 1, 0))
    shuffled = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    return Split(tuple(sorted(shuffled[held:])), tuple(sorted(shuffled[:held])))
