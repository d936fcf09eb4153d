"""Which protocol scores a model's masks, and whether it knows their labels: told before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from evaluation.kits import CYST, KIDNEY, PROTOCOLS, TUMOR
from kits_submit.batch.outcome import CaseResult
from kits_submit.errors import LabelError
from kits_submit.files.rounds import Round, round_of
from kits_submit.labels import LabelSet
from kits_submit.regions import Regions

_TOLD_FROM_ML = 1.0
_KNOWN = ((KIDNEY, "kidney"), (TUMOR, "tumor"), (CYST, "cyst"))


def protocol_for(labels: LabelSet, asked: str | None) -> str:
    """The one asked for; else KiTS23's for a model with cysts, the paper's for one without."""
    return asked or ("kits23" if labels.cyst else "paper")


def refuse_unknown_labels(labels: LabelSet, protocol: str, model: Path) -> None:
    """Raises: LabelError: the model's masks hold a label that the protocol has not, or one that means another thing."""
    allowed = PROTOCOLS[protocol].prediction_labels
    meant = dict(zip((number for number, _ in _KNOWN), (labels.kidney, labels.tumor, labels.cyst), strict=True))
    for number, name in _KNOWN:
        if meant[number] not in ((), (number,)):
            what = f"the model's labels are {labels}; KiTS scores {name} as {number}"
            raise LabelError(what, fix="train or export it with kidney 1, tumor 2, cyst 3", path=model)
    strange = [number for number in labels.foreground if number not in allowed or number not in meant]
    if strange:
        named = ", ".join(f"{number} {labels.names[number]}" for number in strange)
        fix = "score with --protocol kits23" if set(strange) == {CYST} and labels.cyst else "run it without labels"
        what = f"the model's masks hold {named}, which protocol {protocol} does not know"
        raise LabelError(what, fix=fix, path=model)


def round_for(labels: LabelSet, asked: str | None, model: Path) -> Round:
    """The round asked for; else KiTS23's for a model with cysts, KiTS19's for one without.

    Raises:
        InputError: another name.
        LabelError: the model's masks hold a label that the round takes for background.
    """
    judged = round_of(asked or ("kits23" if labels.cyst else "kits19"))
    strange = [number for number in labels.foreground if number not in judged.labels]
    if asked and strange:
        what = f"the model's labels are {labels}; {judged.name} takes {strange[0]} for background"
        raise LabelError(what, fix="use a model of that round, or another --round", path=model)
    return judged


def contradictions(results: Iterable[CaseResult], regions: Regions | None) -> Iterator[str]:
    """A line a case whose regions contradict each other over at least a millilitre, and what became of that."""
    if regions is None:
        return
    outer, inner = regions.parts[0].name, regions.parts[-1].name
    became = "it is not counted" if regions.strict else "it is counted all the same"
    for result in results:
        if result.contradicted_ml >= _TOLD_FROM_ML:
            told = f"{result.contradicted_ml:.1f} mL are in an inner region and not in the one that holds it"
            yield f"{result.case}: regions contradict each other: {told} ({inner} to {outer}); {became}"
