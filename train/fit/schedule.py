"""The learning rate: the paper's plateau rule, a cosine for short trainings, and when to stop. Pure Python."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Plateau:
    """Section 2.4: "multiplied by 0.1 when the loss had not lowered for 20 epochs", until below `minimum`.

    Lowered means below the lowest epoch loss so far, by any amount. With patience 2 and losses 5, 4, 4, 4, 4:
    the rate falls after the fourth epoch (two epochs in a row that did not lower 4), and the count starts again.
    """

    rate: float
    factor: float
    patience: int
    minimum: float
    best: float = math.inf
    waited: int = 0

    def epoch_ended(self, loss: float) -> None:
        """Take an epoch's mean loss into account."""
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.rate *= self.factor
            self.waited = 0

    @property
    def ended(self) -> bool:
        """The rate is below `minimum`: stop training."""
        return self.rate < self.minimum


def cosine(rate: float, progress: float, warmup: float = 0.0) -> float:
    """`rate` at progress 0, half of it at 0.5, zero at 1 (arXiv 1608.03983, without its restarts).

    While progress is below `warmup` it is scaled by progress / warmup (arXiv 1706.02677, section 2.2).
    """
    progress = min(max(progress, 0.0), 1.0)
    rising = min(progress / warmup, 1.0) if warmup else 1.0
    return 0.5 * rate * rising * (1 + math.cos(math.pi * progress))
