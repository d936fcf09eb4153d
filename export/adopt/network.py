"""nnU-Net's networks from their plans, by `dynamic_network_architectures`, and a home-made one from `module:factory`.

Names in plans are looked up in short lists, never imported as they stand.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from export.adopt.plans import Plans
from kits_submit.errors import InputError, ModelError, first_line

EXTRA = "pip install 'kits-submit[adopt]'"
_PARTS: Mapping[str, type[nn.Module]] = {
    part.__name__: part
    for part in (
        nn.Conv3d, nn.InstanceNorm3d, nn.BatchNorm3d, nn.Dropout3d, nn.LeakyReLU, nn.ReLU, nn.GELU, nn.ELU,
    )
}  # fmt: skip
_BY_NAME = ("conv_op", "norm_op", "dropout_op", "nonlin")


def network_of(plans: Plans, weights: Mapping[str, Tensor], told: str, source: Path) -> nn.Module:
    """A network in eval mode, without deep supervision.

    Args:
        told: what the weights are called. `source`: what the user named, for messages.

    Raises:
        InputError: the extra is not installed.
        ModelError: plans that build none, or weights of another.
    """
    try:
        unet = importlib.import_module("dynamic_network_architectures.architectures.unet")
    except ImportError:
        what = "nnU-Net's networks need dynamic-network-architectures, which is not installed"
        raise InputError(what, fix=EXTRA) from None
    arguments = {name: _part(name, value) if name in _BY_NAME else value for name, value in plans.arguments.items()}
    try:
        network: nn.Module = getattr(unet, plans.architecture)(
            input_channels=1, num_classes=plans.recipe.outputs, **arguments | {"deep_supervision": False}
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        what = f"plans.json describes no {plans.architecture} ({first_line(error)})"
        raise ModelError(what, fix="get it again", path=source) from None
    _load(network, weights, told, source)
    return network.eval()


def _part(name: str, value: Any) -> Any:
    if value is None:
        return None
    part = _PARTS.get(str(value).rsplit(".", 1)[-1])
    if part is None or not str(value).startswith("torch.nn."):
        raise ModelError(f"plans.json has {name} {value}, known: {', '.join(_PARTS)}", fix="export it with a Recipe")
    return part


def _load(network: nn.Module, weights: Mapping[str, Tensor], told: str, source: Path) -> None:
    """Without the heads of deep supervision, which the checkpoint may have and the network may not."""
    own = network.state_dict()
    heads = [name for name in weights if ".seg_layers." in name and name not in own]
    given = {name: value for name, value in weights.items() if name not in heads}
    apart = sorted(set(own) ^ set(given)) or [n for n in own if own[n].shape != given[n].shape]
    if apart:
        name = apart[0]
        shapes = [tuple(some[name].shape) if name in some else "none" for some in (own, given)]
        what = (
            f"{told} is of another network than plans.json describes ({len(apart)} weights differ; "
            f"{name}: {shapes[1]} for {shapes[0]})"
        )
        raise ModelError(what, fix="adopt it with the plans that it was trained by", path=source)
    network.load_state_dict(given)


def network_of_factory(name: str) -> nn.Module:
    """What `module:factory` returns, in eval mode; the working folder's modules are found, too.

    Raises:
        InputError: no such module or function, or it returns no torch module.
    """
    module, _, factory = name.partition(":")
    fix = "write it as in --torch mynetwork:trained"
    if not module or not factory:
        raise InputError(f"--torch is {name!r}, allowed: MODULE:FACTORY", fix=fix)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise InputError(f"--torch {name}: {first_line(error)}", fix=fix) from None
    if not isinstance(made, nn.Module):
        raise InputError(f"--torch {name} returns {type(made).__name__}, not a torch module", fix=fix)
    return made.eval()


class Members(nn.Module):
    """Several networks as one: the mean of their logits, and the first one's."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """NKZYX logits of `image`, NCZYX; of one network its own alone."""
        answers = [member(image) for member in self.members]
        if len(answers) == 1:
            return (cast("Tensor", answers[0]),)
        return torch.stack(answers).mean(0), cast("Tensor", answers[0])
