"""`run.json`: what a run was made with, and what became of its cases."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from kits_submit import __version__
from kits_submit.engine.model import Model
from kits_submit.engine.select import Selection
from kits_submit.inference.patches import PatchPlan

_LIBRARIES = ("numpy", "scipy", "nibabel")


@dataclass(frozen=True)
class Provenance:
    """What a run's masks follow from, beside their images."""

    model: Model
    selection: Selection
    plan: PatchPlan
    hu_offset: float = 0.0
    fast: bool = False
    started: float = field(default_factory=time.perf_counter)

    @property
    def key(self) -> str:
        """Two runs with one key make the same mask of the same image."""
        how = f"{self.plan} {self.hu_offset:g} {self.precision} {self.model.one_member}"
        return f"{self.model.sha256} {self.model.recipe.to_json()} {how} {__version__}"

    @property
    def precision(self) -> str:
        """Of the arithmetic of what runs now."""
        return str(getattr(self.selection.engine, "precision", "fp16" if self.model.half else "fp32"))

    def document(self, cases: Sequence[Mapping[str, Any]], exit_code: int | None) -> dict[str, Any]:
        """The run as `run.json` records it; `exit_code` is None while it goes on."""
        engine = self.selection.engine
        recipe = self.model.recipe.document()
        return {
            "program": f"kits-submit {__version__}",
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
            "engine": engine.name,
            "device": engine.device,
            "precision": self.precision,
            "fast": self.fast,
            "threads": getattr(engine, "threads", None),
            "hu_offset": self.hu_offset,
            "stepped_down": list(self.selection.steps),
            "model": {"file": self.model.path.name, "sha256": self.model.sha256, "recipe": recipe},
            "seconds": round(time.perf_counter() - self.started, 3),
            "exit_code": exit_code,
            "cases": list(cases),
        }
