"""What is sent to a worker, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kits_submit import __version__
from kits_submit.engine.model import Model
from kits_submit.engine.select import Selection
from kits_submit.inference.patches import PatchPlan
from kits_submit.mounts import Mount


@dataclass(frozen=True)
class Work:
    """- `token`: a file in `output` that every worker must see there; empty where the output is a bucket.
    - `made_by`: as `batch.proof.Prover` has it. `background`: whether a case that fails gets a mask of background.
    - `mounts`: the buckets that cases and output lie in.
    - `trust`: steps an engine down that does not answer as it should; None where it is believed.
    """

    output: Path
    model: Model
    plan: PatchPlan
    made_by: str
    device: str = "auto"
    require_gpu: bool = False
    precision: str = "fp32"
    jobs: int = 1
    hu_offset: float = 0.0
    also: tuple[str, ...] = ()
    background: bool = False
    token: str = ""
    mounts: tuple[Mount, ...] = ()
    trust: Callable[[Selection, Model], None] | None = None
    version: str = __version__


@dataclass(frozen=True)
class Ready:
    """A worker that has its engine; the facts that `run.json` tells of one."""

    engine: str
    device: str
    threads: int | None
    stepped_down: tuple[str, ...]
    pid: int
