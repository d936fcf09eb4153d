"""`--patch`, `--margin` and `--overlap`: another patch plan than the model's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kits_submit.errors import InputError, UsageError

if TYPE_CHECKING:
    from kits_submit.inference.patches import PatchPlan
    from kits_submit.recipe import Recipe
    from kits_submit.types import Shape


def patch_plan(recipe: Recipe, patch: str | None, margin: str | None, overlap: float | None) -> PatchPlan:
    """The Recipe's plan with what the options change of it.

    Raises:
        UsageError: not three numbers, or a plan that the network cannot have.
    """
    from kits_submit.inference.patches import PatchPlan

    sizes = _three(patch, recipe.patch, "--patch"), _three(margin, recipe.margin, "--margin")
    own = PatchPlan.of(recipe)
    try:
        return PatchPlan(*sizes, recipe.multiple, own.overlap if overlap is None else overlap, own.centred)
    except InputError as error:
        raise UsageError(error.what, fix=error.fix) from None


def _three(text: str | None, default: Shape, option: str) -> Shape:
    if text is None:
        return default
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        like = ",".join(map(str, default))
        raise UsageError(f"{option} is {text!r}, allowed: three whole numbers", fix=f"write it as in {option} {like}")
    z, y, x = (int(part) for part in parts)
    return z, y, x
