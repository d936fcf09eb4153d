"""A running mean of a network's weights and BN statistics: checkpoints of a short training swing, their mean less."""

from __future__ import annotations

import copy

import torch

from train.network.deeplab import DeepLab3D


class MeanWeights:
    """Exponential moving average of every floating tensor of a network's state, BN's running statistics included.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the first, random weights are soon forgotten
    (as TensorFlow's ExponentialMovingAverage with `num_updates`). Decay 0 follows the network itself.
    """

    def __init__(self, network: DeepLab3D, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def update(self, network: DeepLab3D) -> None:
        """Move towards `network`."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
