"""A run on a cluster, from cases to their results: the one door of this folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kits_submit.batch.cluster.connect import connected, nodes
from kits_submit.batch.cluster.crew import Crew
from kits_submit.batch.cluster.needs import ENGINE_BYTES, needs
from kits_submit.batch.cluster.run import Handout, Tell
from kits_submit.batch.cluster.work import Ready, Work
from kits_submit.batch.outcome import CaseResult
from kits_submit.batch.proof import first_state
from kits_submit.batch.shards import sizes
from kits_submit.console import say
from kits_submit.engine.crop import Cells
from kits_submit.engine.select import Selection
from kits_submit.errors import BudgetError, OutputError
from kits_submit.files.cases import Case
from kits_submit.mounts import all_mounts, mount_of
from kits_submit.types import Batch, Logits


@dataclass
class Elsewhere:
    """The engine of a run whose cases are computed on other nodes; what the first worker says of its own."""

    name: str = "cluster"
    device: str = "no worker has begun"
    threads: int | None = None
    batch_voxels: int = 0
    precision: str = "fp32"

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        """Never asked."""
        raise NotImplementedError


def run_on_cluster(
    cases: Sequence[Case],
    address: str,
    work: Work,
    selection: Selection,
    tell: Tell,
    *,
    threads: int | None = None,
    memory_check: bool = True,
) -> None:
    """Have each case segmented, the largest first, and tell each result as it comes.

    Args:
        work: without its token and mounts.
        selection: gets the facts of the first worker's engine.
        threads: cores of a worker without a GPU.
        memory_check: refuse a case that no node can hold.

    Raises:
        UsageError: no address.
        DeviceError: no Ray there, or no node that can take part.
        OutputError: the nodes do not share the folder.
    """
    with connected(address) as ray, _seen_by_all(work) as shared:
        needed = needs(cases, work.model.recipe) if memory_check else {}
        refused = dict(_too_large(cases, needed, max(node.memory for node in nodes(ray).values())))
        for result in refused.values():
            tell(result, {})
        by_size = sizes(cases)
        fitting = sorted((c for c in cases if c.case_id not in refused), key=lambda c: -by_size[c.case_id])

        def on_ready(ready: Ready) -> None:
            if selection.engine.name == Elsewhere.name:
                known = getattr(selection.engine, "precision", work.precision)
                selection.engine = Elsewhere(ready.engine, ready.device, ready.threads, precision=known)
                selection.steps = ready.stepped_down

        crew = Crew(ray, shared, needed, threads, on_ready, say)
        Handout(ray, crew, fitting, lambda case: first_state(case.image), tell).run()


@contextmanager
def _seen_by_all(work: Work) -> Iterator[Work]:
    """With a file in the output folder that every node must see; in a bucket they do."""
    if mount_of(work.output) is not None:
        yield replace(work, mounts=tuple(all_mounts()))
        return
    token = work.output / f".run.{uuid.uuid4().hex}"
    try:
        token.touch()
    except OSError as error:
        what = f"cannot be written ({error.strerror})"
        raise OutputError(what, fix="check space and permissions", path=work.output) from None
    try:
        yield replace(work, token=token.name, mounts=tuple(all_mounts()))
    finally:
        token.unlink(missing_ok=True)


def _too_large(
    cases: Sequence[Case], needed: Mapping[str, tuple[int, int]], largest_node: float
) -> Iterator[tuple[str, CaseResult]]:
    for case in cases:
        least = needed.get(case.case_id, (0, 0))[0] + ENGINE_BYTES
        if largest_node and least > largest_node:
            what = f"needs at least {least / 1e9:.1f} GB, the largest node gives {largest_node / 1e9:.1f} GB to workers"
            error = BudgetError(what, fix="add a larger node, or --no-memory-check to try", path=case.image)
            yield case.case_id, CaseResult(case.case_id, "failed", error=str(error), exit_code=error.exit_code)
