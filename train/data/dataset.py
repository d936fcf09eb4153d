"""A folder of labelled cases, ready to train on: gathered, measured, its Recipe made, split, all in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kits_submit.errors import InputError, KitsError, MixedError
from kits_submit.files.cases import Case
from kits_submit.recipe import Recipe
from train.compute.distributed import Workers
from train.config import TrainConfig
from train.data.cache import CachedCase, cache_case, clear_unfinished
from train.data.cohort import gather_cohort
from train.data.fingerprint import CaseFacts, make_recipe, measure
from train.data.plausible import refuse_swapped
from train.data.splits import Split
from train.records.events import Events

_TOLD_MOST = 20


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
    data: Path,
    config: TrainConfig,
    folder: Path,
    cache: Path,
    events: Events,
    workers: Workers,
    *,
    split: Split | None = None,
) -> Dataset:
    """Gather, measure, make the Recipe, split, cache; the cases are shared out over the workers, one in memory of each.

    Args:
        folder: where cases are drawn that `config` wants beside `data`.
        split: of an earlier stage, to be kept; None splits as the config says.

    Raises:
        KitsError: cases that cannot be used (all are told first), no foreground, other cases than `split` has.
        OutputError: the cache cannot be written.
    """
    cohort = gather_cohort(data, config, folder, events, workers, split=split)
    cases = cohort.cases
    if workers.first:
        clear_unfinished(cache)
    events.stage("fingerprint", len(cases))
    facts = _measured(cases, config, cache / "facts", events, workers)
    by_id = {fact.case_id: fact for fact in facts}
    used = [case for case in cases if case.case_id in by_id]
    for fact in facts:
        if not fact.histogram.any():
            events.said(f"{fact.case_id}: its label is empty; it gives patches of background alone")
    recipe = make_recipe(facts, config)
    own = cohort.split(set(by_id), config, split)
    if split is not None:
        _refuse_others(own, split, data)
    events.stage("cache", len(used))

    def cached(case: Case) -> CachedCase:
        sha256 = by_id[case.case_id].sha256
        made = cache_case(
            case, recipe, cache, max_slices=config.max_slices, sha256=sha256, cysts_as_kidney=config.cysts_as_kidney
        )
        events.advanced(case.case_id)
        return made

    done = workers.map(cached, used)
    by_case = {case.case_id: case for case in used}
    refuse_swapped(done, recipe.labels)
    return Dataset(recipe, own, by_case, dict(zip(by_case, done, strict=True)))


def _measured(
    cases: Sequence[Case], config: TrainConfig, notes: Path, events: Events, workers: Workers
) -> list[CaseFacts]:
    def attempt(case: Case) -> CaseFacts | KitsError:
        try:
            return measure(case, config.label_set, notes, cysts_as_kidney=config.cysts_as_kidney)
        except KitsError as error:
            return error
        finally:
            events.advanced(case.case_id)

    results = workers.map(attempt, cases)
    failures = [result for result in results if isinstance(result, KitsError)]
    for failure in failures[:_TOLD_MOST]:
        events.said(f"bad case: {failure}")
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
