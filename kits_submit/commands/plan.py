"""`--patch`, `--margin` and `--overlap`: another patch plan than the model's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kits_submit.errors import InputError

if TYPE_CHECKING:
    from kits_submit.inference.patches import PatchPlan
    from kits_submit.recipe import Recipe
    from kits_submit.types import Shape


def patch_plan(recipe: Recipe, patch: str | None, margin: str | None, overlap: float | None) -> PatchPlan:
    """The Recipe's plan with what the options change of it.

    Raises:
        InputError: not three numbers, or a plan that the network cannot have.
    """
    from kits_submit.inference.patches import PatchPlan

    sizes = _three(patch, recipe.patch, "--patch"), _three(margin, recipe.margin, "--margin")
    return PatchPlan(*sizes, recipe.multiple, overlap)


def _three(text: str | None, default: Shape, option: str) -> Shape:
    if text is None:
        return default
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        like = ",".join(map(str, default))
        raise InputError(f"{option} is {text!r}, allowed: three whole numbers", fix=f"write it as in {option} {like}")
    z, y, x = (int(part) for part in parts)
    return z, y, x
