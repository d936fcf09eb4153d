"""A folder of labelled cases, ready to train on: gathered, measured, its Recipe made, split, all in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kits_submit.errors import InputError, KitsError, MixedError
from kits_submit.files.cases import Case
from kits_submit.machine.pool import in_processes
from kits_submit.recipe import Recipe
from train.compute.threads import numpy_on_one_thread
from train.config import TrainConfig
from train.data.cache import CachedCase, cache_case, clear_unfinished, folder_of
from train.data.cohort import gather_cohort
from train.data.fingerprint import CaseFacts, make_recipe, measure_all
from train.data.needs import cache_bytes, check_room, jobs_for, shapes_of
from train.data.plausible import refuse_leaks, refuse_swapped
from train.data.splits import Split
from train.place import Place

_TOLD_MOST = 20
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Dataset:
    """What one stage trains on and validates with; `cases` and `cached` hold the split's cases alone, by id."""

    recipe: Recipe
    split: Split
    cases: dict[str, Case]
    cached: dict[str, CachedCase]

    @property
    def in_training(self) -> list[CachedCase]:
        return [self.cached[case_id] for case_id in self.split.train]

    @property
    def held_out(self) -> list[CachedCase]:
        return [self.cached[case_id] for case_id in self.split.validation]


def prepare_dataset(
    data: Path, config: TrainConfig, folder: Path, cache: Path, place: Place, *, split: Split | None = None
) -> Dataset:
    """Gather, measure, make the Recipe, split, cache; the cases are shared out over the workers and their processes.

    Args:
        folder: where cases are drawn that `config` wants beside `data`.
        split: of an earlier stage, to be kept; None splits as the config says.

    Raises:
        KitsError: cases that cannot be used (all are told first), no foreground, other cases than `split` has, one
            scan on both sides of the split.
        OutputError: the cache cannot be written, or does not fit on its disk.
    """
    cohort = gather_cohort(data, config, folder, place.events, place.workers, split=split)
    if place.workers.first:
        clear_unfinished(cache)
    facts = {fact.case_id: fact for fact in _measured(cohort.cases, config, cache / "facts", place)}
    for fact in facts.values():
        if not fact.foreground:
            place.events.said(f"{fact.case_id}: its label is empty; it gives patches of background alone")
    recipe = make_recipe(list(facts.values()), config)
    own = cohort.split(set(facts), config, split)
    if split is not None:
        _refuse_others(own, split, data)
    for line in refuse_leaks(list(facts.values()), own):
        place.events.said(line)
    used = {case.case_id: case for case in cohort.cases if case.case_id in facts}
    done = _cached(used, facts, recipe, config, cache, place)
    refuse_swapped(done, recipe.labels)
    return Dataset(recipe, own, used, dict(zip(used, done, strict=True)))


def _cached(
    cases: Mapping[str, Case],
    facts: Mapping[str, CaseFacts],
    recipe: Recipe,
    config: TrainConfig,
    cache: Path,
    place: Place,
) -> list[CachedCase]:
    how: dict[str, Any] = {"max_slices": config.max_slices, "cysts_as_kidney": config.cysts_as_kidney}
    new = [facts[name] for name, case in cases.items()
           if not folder_of(case, recipe, cache, facts[name].sha256, **how).is_dir()]  # fmt: skip
    if new and place.workers.first:
        needed = sum(cache_bytes(fact, recipe.spacing_mm, config.max_slices) for fact in new)
        place.events.said(check_room(needed, len(new), cache))
    place.events.stage("cache", len(cases))
    jobs = jobs_for([fact.shape for fact in new], place.own_jobs)
    pairs = [(case, facts[name].sha256) for name, case in cases.items()]
    work = partial(_cache_one, recipe=recipe, root=cache, **how)
    return place.workers.share(pairs, lambda own: _told(in_processes(work, own, jobs), own, place))


def _cache_one(pair: tuple[Case, str], recipe: Recipe, root: Path, **how: Any) -> CachedCase:
    case, sha256 = pair
    with numpy_on_one_thread():
        return cache_case(case, recipe, root, sha256=sha256, **how)


def _told(results: Iterable[_Result], items: Sequence[tuple[Case, str]], place: Place) -> Iterator[_Result]:
    for result, (case, _) in zip(results, items, strict=True):
        place.events.advanced(case.case_id)
        yield result


def _measured(cases: Sequence[Case], config: TrainConfig, notes: Path, place: Place) -> list[CaseFacts]:
    place.events.stage("fingerprint", len(cases))
    jobs = jobs_for(shapes_of(cases), place.own_jobs)

    def measured(own: Sequence[tuple[Case, str]]) -> Iterator[CaseFacts | KitsError]:
        only = [case for case, _ in own]
        how = {"cysts_as_kidney": config.cysts_as_kidney}
        return _told(measure_all(only, config.label_set, notes, jobs, **how), own, place)

    results = place.workers.share([(case, "") for case in cases], measured)
    failures = [result for result in results if isinstance(result, KitsError)]
    for failure in failures[:_TOLD_MOST]:
        place.events.said(f"bad case: {failure}")
    facts = [result for result in results if isinstance(result, CaseFacts)]
    if failures and not (config.skip_bad_cases and facts):
        raise _together(failures)
    return facts


def _together(failures: Sequence[KitsError]) -> KitsError:
    first = failures[0]
    kind = type(first) if len({failure.exit_code for failure in failures}) == 1 else MixedError
    more = f" (and {len(failures) - 1} more bad cases, see above)" if len(failures) > 1 else ""
    return kind(f"{first.what}{more}", fix=f"{first.fix}, or leave bad cases out by --skip-bad-cases", path=first.path)


def _refuse_others(own: Split, split: Split, data: Path) -> None:
    ours, theirs = ({*side.train, *side.validation} for side in (own, split))
    if ours != theirs:
        what = f"other cases than the first stage has (for example {sorted(ours ^ theirs)[0]})"
        raise InputError(what, fix="give the same patients, interpolated", path=data)


def same_data(stored: Recipe, fresh: Recipe) -> bool:
    """Whether two Recipes are of the same data and numbers, whatever code made them and however they are refined."""

    def essence(recipe: Recipe) -> Recipe:
        told = recipe.provenance
        kept = {"data_sha256": told.get("data_sha256", ""), "config": _completed(told.get("config", ""))}
        return replace(recipe, refinement=fresh.refinement, provenance=kept)

    return essence(stored) == essence(fresh)


def _completed(config: str) -> str:
    """A config's JSON with the fields that were added after it was written, at their defaults."""
    try:
        return TrainConfig.from_json(config).to_json()
    except InputError:
        return config
