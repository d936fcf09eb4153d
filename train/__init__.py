"""Training, in torch: a folder of labelled cases becomes a checkpoint that carries its Recipe.

`config -> fingerprint -> cache -> sampler -> network -> losses -> loop -> validate -> checkpoint`
"""

from pathlib import Path

CHECKPOINT = "checkpoint.pt"  # in a run folder: the last state, which a resumption goes on from
BEST = "best.pt"  # the state with the best held-out Dice, which is exported
PRETRAINING = "pretraining"  # preset that a training may start from, and its folder in the run's
SECOND = "second"  # folder of the second stage in the first one's


def best_of(run: Path) -> Path | None:
    """What a run has to show: the second stage before the first, the best state before the last; None for nothing."""
    places = (run / SECOND / BEST, run / SECOND / CHECKPOINT, run / BEST, run / CHECKPOINT)
    return next((path for path in places if path.is_file()), None)
