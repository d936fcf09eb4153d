"""A training on disk: written beside and renamed, so that a file of the name is always whole.

    kind           "kits-submit checkpoint"
    schema         1
    architecture   `Architecture.to_dict`
    config, recipe JSON
    step           steps done
    model          weights after the last step
    mean           weights and BN statistics of `MeanWeights`: what is validated and exported
    training       optimizer, schedule, count of mean updates, best score: what going on needs

Holds plain values and tensors alone, so that loading executes no code from the file (`weights_only=True`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kits_submit.atomic import replacing
from kits_submit.errors import InputError, KitsError, ModelError
from kits_submit.inference.patches import PatchPlan
from kits_submit.labels import LabelSet
from kits_submit.recipe import Recipe
from kits_submit.regions import Regions
from train.config import TrainConfig
from train.network.deeplab import Architecture, DeepLab3D

KIND = "kits-submit checkpoint"
SCHEMA = 1

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The file's content (see above), parsed."""

    architecture: Architecture
    config: TrainConfig
    recipe: Recipe
    step: int
    model: State
    mean: State
    training: Mapping[str, Any]

    def network(self) -> DeepLab3D:
        """The network of `mean`, in eval mode.

        Raises:
            ModelError: the weights are another architecture's.
        """
        return load_state(DeepLab3D(self.architecture), self.mean).eval()

    def leaning(self, tumor_shift: float) -> Checkpoint:
        """The same with `tumor_shift` added to the mean network's tumor logit, and noted in the Recipe."""
        if not tumor_shift:
            return self
        mean = {name: value.clone() for name, value in self.mean.items()}
        (bias,) = (value for name, value in mean.items() if name.endswith("output.bias"))
        bias[list(tumor_channels(self.recipe.labels, self.recipe.regions))] += tumor_shift
        provenance = {**self.recipe.provenance, "tumor_shift": f"{tumor_shift:g}"}
        return replace(self, mean=mean, recipe=replace(self.recipe, provenance=provenance))

    def standardised_as(self, recipe: Recipe) -> Checkpoint:
        """The same network for images that `recipe` standardises: equal answers to equal HU, within both windows.

        HU = x std + mean, so x_own = x k + d with k = std / std_own and d = (mean - mean_own) / std_own. The stem is a
        1x1x1 convolution, w x, and its BN: w becomes w k, and what w d adds is taken off the BN's mean.
        """
        own = self.recipe
        scale, shift = recipe.std_hu / own.std_hu, (recipe.mean_hu - own.mean_hu) / own.std_hu
        if (scale, shift) == (1.0, 0.0):
            return self

        def carried(state: State) -> State:
            weight, mean = (state[f"encoder.stem.{name}"] for name in ("0.weight", "1.running_mean"))
            changed = {
                "encoder.stem.0.weight": weight * scale,
                "encoder.stem.1.running_mean": mean - shift * weight.flatten(),
            }
            return {**state, **changed}

        now = replace(own, mean_hu=recipe.mean_hu, std_hu=recipe.std_hu, clip_hu=recipe.clip_hu)
        return replace(self, model=carried(self.model), mean=carried(self.mean), recipe=now)

    def planned(self, plan: PatchPlan) -> Checkpoint:
        """The same with another patch plan, noted in the Recipe."""
        recipe = self.recipe
        if (plan.patch, plan.margin) == (recipe.patch, recipe.margin):
            return self
        provenance = {**recipe.provenance, "patch_plan": f"{plan.patch}, {plan.margin}, given at export"}
        return replace(self, recipe=replace(recipe, patch=plan.patch, margin=plan.margin, provenance=provenance))


def tumor_channels(labels: LabelSet, regions: Regions | None) -> tuple[int, ...]:
    """Channels of the network's answer that say tumor and nothing else."""
    return labels.tumor if regions is None else regions.tumor


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically.

    Raises:
        OutputError: cannot be written; what stood under the name before still does.
    """
    content = {
        "kind": KIND,
        "schema": SCHEMA,
        "architecture": checkpoint.architecture.to_dict(),
        "config": checkpoint.config.to_json(),
        "recipe": checkpoint.recipe.to_json(),
        "step": checkpoint.step,
        "model": dict(checkpoint.model),
        "mean": dict(checkpoint.mean),
        "training": dict(checkpoint.training),
    }
    whole = io.BytesIO()
    torch.save(content, whole)  # in memory first: torch tells a full disk by a RuntimeError of many lines
    with replacing(path) as stream:
        stream.write(whole.getbuffer())


def load_checkpoint(path: Path, *, architecture: Architecture | None = None) -> Checkpoint:
    """Read and check; with `architecture`, only weights of that one are taken, whatever dropout they were trained with.

    Raises:
        InputError: no such file.
        ModelError: not a checkpoint, damaged, of another schema or architecture.
    """
    if not path.is_file():
        raise InputError("no such checkpoint", fix="give a checkpoint (*.pt) or a run folder", path=path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"not a readable checkpoint ({type(error).__name__})", fix=_TRAIN_AGAIN, path=path) from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ModelError("a torch file, but not a kits-submit checkpoint", fix=_TRAIN_AGAIN, path=path)
    if content.get("schema") != SCHEMA:
        what = f"the checkpoint has schema {content.get('schema')!r}, this program reads {SCHEMA}"
        raise ModelError(what, fix="update kits-submit, or train again", path=path)
    checkpoint = _parse(content, path)
    if architecture is not None and checkpoint.architecture.with_dropout(0) != architecture.with_dropout(0):
        raise ModelError(
            f"architecture differs in {_differences(checkpoint.architecture, architecture)}",
            fix="use a checkpoint of the architecture asked for",
            path=path,
        )
    return checkpoint


def load_state(network: DeepLab3D, state: State) -> DeepLab3D:
    """`network` with the weights of `state`.

    Raises:
        ModelError: names or shapes differ.
    """
    own = network.state_dict()
    wrong = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise ModelError(
            f"{len(wrong)} weights do not fit the architecture (first: {wrong[0]})", fix="use its own checkpoint"
        )
    network.load_state_dict(dict(state))
    return network


def _parse(content: dict[str, Any], path: Path) -> Checkpoint:
    try:
        checkpoint = Checkpoint(
            architecture=Architecture.from_dict(content["architecture"]),
            config=TrainConfig.from_json(content["config"]),
            recipe=Recipe.from_json(content["recipe"]),
            step=int(content["step"]),
            model=content["model"],
            mean=content["mean"],
            training=content["training"],
        )
        checkpoint.network()
    except KeyError as error:
        raise ModelError(f"the checkpoint lacks {error.args[0]}", fix=_TRAIN_AGAIN, path=path) from None
    except KitsError as error:
        raise ModelError(error.what, fix=_TRAIN_AGAIN, path=path) from None
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"the checkpoint cannot be read ({error})", fix=_TRAIN_AGAIN, path=path) from None
    return checkpoint


def _differences(got: Architecture, wanted: Architecture) -> str:
    ours, theirs = got.to_dict(), wanted.to_dict()
    return ", ".join(f"{name} ({ours[name]}, wanted {theirs[name]})" for name in ours if ours[name] != theirs[name])


_TRAIN_AGAIN = "train again, or give another checkpoint"
