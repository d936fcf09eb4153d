"""Which cases a training takes: those given, and those drawn beside them.

RUN/implants/case_90001/case_00000, ...   copies of case_90001 with tumors in its kidneys (`train.synthesis.implant`)
RUN/phantoms/case_00000, ...              synthetic cases

A copy follows its source: where the source is held out, so are its copies. Phantoms beside data only train.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from kits_submit.atomic import replacing
from kits_submit.errors import InputError, KitsError, OutputError
from kits_submit.files.cases import Case, find_cases
from kits_submit.labels import CYST, KITS19, LabelSet
from kits_submit.phantom import write_phantoms
from train.compute.distributed import Workers
from train.config import TrainConfig
from train.data.splits import Split, split_cases
from train.data.wanted import wanted_cases
from train.pairs import content_hash
from train.records.events import Events
from train.synthesis.implant_cases import copies_of

PHANTOM_SEED = 1_000_000  # plus --seed; `make demo` draws its three phantoms by seed 2019, which no training sees
PHANTOM_MATRIX = 256  # half of KiTS's, for half-resolution training
PHANTOM_SLICES = 250  # at most: as three quarters of KiTS19
PHANTOMS, IMPLANTS = "phantoms", "implants"


@dataclass(frozen=True)
class Cohort:
    """`given`: cases of the data folder; `drawn`: those made beside them; `source_of`: of a copy, its source's id."""

    given: tuple[Case, ...]
    drawn: tuple[Case, ...] = ()
    source_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> tuple[Case, ...]:
        """All of them."""
        return self.given + self.drawn

    def split(self, case_ids: set[str], config: TrainConfig, earlier: Split | None = None) -> Split:
        """Which of `case_ids` (those that could be read) train and which validate.

        Args:
            earlier: split of an earlier stage, whose given cases these are too.

        Raises:
            InputError: `config` holds a case out that is not among them, or every given one.
        """
        given = [case.case_id for case in self.given if case.case_id in case_ids]
        if earlier is not None:
            held = set(earlier.validation)
        elif config.holdout_cases:
            held = _named(config.holdout_cases, given)
        else:
            held = set(split_cases(given, holdout=config.holdout, seed=config.seed).validation)
        validates = {case_id for case_id in case_ids if self.source_of.get(case_id, case_id) in held}
        return Split(tuple(sorted(case_ids - validates)), tuple(sorted(validates)))


def _named(names: Sequence[str], given: Sequence[str]) -> set[str]:
    unknown = sorted(set(names) - set(given))
    if unknown:
        raise InputError(f"holdout-cases names {unknown[0]}, which is not in the data", fix="name a case that is")
    if set(names) >= set(given):
        raise InputError("holdout-cases names every case", fix="leave one to train on")
    return set(names)


def gather_cohort(
    data: Path, config: TrainConfig, folder: Path, events: Events, workers: Workers, *, split: Split | None = None
) -> Cohort:
    """The cases of `data` that `config` wants, and what it has drawn beside them, in `folder`; the first worker draws.

    Args:
        split: of an earlier stage, which says who is held out in place of the config.

    Raises:
        InputError: no case, none left, or held-out names that cannot be; before anything is drawn.
        OutputError: `folder` cannot be written.
    """
    given = wanted_cases(find_cases(data), config, events.said)
    if config.cysts_as_kidney:
        events.said(f"label {CYST} of the data, a cyst, counts as kidney (--cysts-as-kidney)")
    if not given:
        raise InputError("omit-cases leaves no case", fix="omit fewer", path=data)
    if config.holdout_cases and split is None:
        _named(config.holdout_cases, [case.case_id for case in given])
    drawn: list[Case] = []
    source_of = {}
    if config.implants or config.healthy:
        _draw_implants(given, folder / IMPLANTS, config, events, workers)
        for case in given:
            for copy in _found(folder / IMPLANTS / case.case_id):
                drawn.append(replace(copy, case_id=f"{case.case_id}+{copy.number}"))
                source_of[drawn[-1].case_id] = case.case_id
    if config.beside_phantoms:
        made = draw_phantoms(
            folder, config.beside_phantoms, config.seed, events, workers,
            labels=config.label_set, any_hospital=config.any_hospital,
        )  # fmt: skip
        phantoms = find_cases(made)
        drawn += [replace(case, case_id=case.case_id.replace("case", "phantom")) for case in phantoms]
    return Cohort(tuple(given), tuple(drawn), source_of)


def _found(folder: Path) -> list[Case]:
    return find_cases(folder) if folder.is_dir() and any(folder.iterdir()) else []


def draw_phantoms(
    folder: Path,
    count: int,
    seed: int,
    events: Events,
    workers: Workers,
    *,
    labels: LabelSet = KITS19,
    any_hospital: bool = False,
) -> Path:
    """`count` synthetic cases under FOLDER/phantoms, unless the very same are there; drawn by the first worker."""
    first_seed = PHANTOM_SEED + seed
    wanted: dict[str, object] = {
        "cases": count, "seed": first_seed, "matrix": PHANTOM_MATRIX, "max_slices": PHANTOM_SLICES,
    }  # fmt: skip
    if labels.cyst:
        wanted["labels"] = list(labels.names)
    if any_hospital:
        wanted["any_hospital"] = 1

    def draw(target: Path) -> None:
        events.stage("phantoms", count)
        write_phantoms(
            target,
            count,
            first_seed,
            matrix=PHANTOM_MATRIX,
            max_slices=PHANTOM_SLICES,
            labels=labels,
            any_hospital=any_hospital,
            on_case=events.advanced,
        )

    return _once(folder / PHANTOMS, wanted, draw, workers)


def _draw_implants(cases: Sequence[Case], folder: Path, config: TrainConfig, events: Events, workers: Workers) -> None:
    """`config.implants` copies of each case that has room for a tumor, and `config.healthy` with cysts alone.

    Nothing is drawn where the very same are there.
    """
    wanted: dict[str, object] = {
        "copies": config.implants,
        "seed": config.seed,
        "sources": {case.case_id: content_hash(case) for case in cases},
    }
    if config.label_set.cyst or config.cysts_as_kidney:
        wanted["labels"] = [config.labels, config.cysts_as_kidney]

    if config.healthy:
        wanted["healthy"] = config.healthy

    def draw(target: Path) -> None:
        events.stage("implants", len(cases))
        for number, case in enumerate(cases):
            try:
                draw_copies = partial(
                    copies_of, case, target / case.case_id, seed=(config.seed, number),
                    classes=config.label_set, cysts_as_kidney=config.cysts_as_kidney,
                )  # fmt: skip
                last = config.implants + config.healthy
                for _ in draw_copies(numbers=range(config.implants)):
                    pass
                for _ in draw_copies(numbers=range(config.implants, last), tumors=False):
                    pass
            except OutputError:
                raise
            except KitsError as error:
                events.said(f"no tumor drawn into {case.case_id}: {error.what}")
            events.advanced(case.case_id)

    _once(folder, wanted, draw, workers)


def _once(folder: Path, wanted: Mapping[str, object], draw: Callable[[Path], None], workers: Workers) -> Path:
    """What the first worker's `draw` writes into `folder`, with a note of what it is beside it, written last.

    Nothing is drawn where the note says that it is there; the other workers wait.
    """
    note = folder.with_suffix(".json")
    text = json.dumps(wanted, sort_keys=True)
    if workers.first and not (note.is_file() and note.read_text() == text):
        note.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        draw(folder)
        with replacing(note) as stream:
            stream.write(text.encode())
    workers.gather(None)
    return folder
