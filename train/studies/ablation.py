"""The paper's Tables 2, 3 and 4: which trainings each compares, what it printed, and the table with ours beside.

The paper's numbers are percent, means over its 63 validation cases of KiTS19. Table 2's and 3's are before the
postprocessing: their proposed method's Dice lies below Table 4's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kits_submit.errors import InputError
from train.config import TrainConfig
from train.presets import preset, variant

if TYPE_CHECKING:
    from rich.table import Table

    from train.records.reports import Scored

# Dice kidney, Dice tumor, recall kidney, recall tumor, precision kidney, precision tumor
Numbers = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Row:
    """One row: its words in the paper, the config that gives it, which masks are scored, the paper's numbers.

    `paper` is None where the paper prints no such row.
    """

    words: str
    name: str
    masks: str
    paper: Numbers | None


NETWORK, REFINED = "network", "refined"
TITLES: Mapping[int, str] = MappingProxyType(
    {
        2: "Table 2. Effect of changing the architecture.",
        3: "Table 3. Effect of changing the loss function.",
        4: "Table 4. Best method after postprocessing.",
    }
)
ROWS: Mapping[int, tuple[Row, ...]] = MappingProxyType(
    {
        2: (
            Row("Bigger encoder", "bigger-encoder", NETWORK, (75.41, 14.89, 89.39, 41.88, 62.12, 9.8)),
            Row("Bigger ASPP", "bigger-aspp", NETWORK, (70.7, 12.64, 83.10, 34.21, 56.6, 8.16)),
            Row(
                "Decoder every stage 1 convolution",
                "decoder-every-stage-1",
                NETWORK,
                (78.83, 16.81, 93.06, 40.67, 66.39, 11.36),
            ),
            Row(
                "Decoder every stage 2 convolutions",
                "decoder-every-stage-2",
                NETWORK,
                (75.206, 13.85, 89.12, 43.69, 62.01, 8.99),
            ),
            Row("Proposed method", "proposed", NETWORK, (75.6, 14.03, 82.95, 33.6, 61.83, 8.86)),
        ),
        3: (
            Row("Tversky + 5*Focal", "focal-5", NETWORK, (86.41, 23.55, 89.28, 41.55, 77.01, 16.08)),
            Row("Tversky + 2*Focal", "focal-2", NETWORK, (87.25, 24.97, 87.56, 35.66, 78.30, 17.43)),
            Row("Tversky + 0.5*Focal", "focal-0.5", NETWORK, (86.72, 24.43, 89.68, 41.40, 77.48, 16.84)),
            Row("Tversky + 0.2*Focal", "focal-0.2", NETWORK, (86.41, 25.49, 88.42, 41.97, 76.98, 17.69)),
        ),
        4: (
            Row("Without postprocessing", "proposed", NETWORK, None),
            Row("Final score", "proposed", REFINED, (87.23, 38.41, 84.26, 41.06, 78.99, 29.21)),
        ),
    }
)
ORDER = ("kidney_dice", "tumor_dice", "kidney_recall", "tumor_recall", "kidney_precision", "tumor_precision")

MEASURED = ("Dice", "Recall", "Precision")
_NO_MATTER = ("preset", "seed", "loaders", "tensorboard", "checkpoint_minutes")  # to what is compared

Scores = Mapping[str, Sequence[tuple[str, "Scored"]]]


def configs(table: int, base: TrainConfig) -> dict[str, TrainConfig]:
    """The trainings of a table, by the name of their folder.

    Raises:
        InputError: the paper has no such table of results, or it is to be of other labels.
    """
    if table not in ROWS:
        raise InputError(f"table {table}, allowed: {', '.join(map(str, ROWS))}", fix="name one of them")
    if base.label_set.cyst:
        raise InputError(f"labels is {base.labels}, the paper's tables are of kits19", fix="leave --labels out")
    return {row.name: variant(base, row.name) for row in ROWS[table]}


def means(table: int, scores: Scores) -> dict[str, Numbers]:
    """Our numbers in percent, by the row's words, from each training's `(masks, case)` scores."""
    from train.records.reports import mean_score

    ours: dict[str, Numbers] = {}
    for row in ROWS[table]:
        mean = mean_score([score for masks, score in scores[row.name] if masks == row.masks])
        a, b, c, d, e, f = (100 * getattr(mean, measure) for measure in ORDER)
        ours[row.words] = (a, b, c, d, e, f)
    return ours


def unlike_paper(base: TrainConfig, minutes: float | None = None) -> str:
    """What a table's trainings share that is not the paper's, `minutes` a stage among it; empty where all is."""
    theirs, ours = asdict(preset("paper")), asdict(base)
    told = [name for name in ours if ours[name] != theirs[name] and name not in _NO_MATTER]
    changed = [f"{name} {_shown(ours[name])} ({_shown(theirs[name])})" for name in told]
    if minutes is not None:
        changed.append(f"at most {minutes:g} minutes a stage")
    return f"Not the paper's numbers (the paper's in brackets): {', '.join(changed)}." if changed else ""


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _title(table: int, cases: int, unlike: str) -> str:
    return f"{TITLES[table]} Ours: {cases} held-out cases.{f' {unlike}' if unlike else ''}"


def render(table: int, ours: Mapping[str, Numbers], cases: int, unlike: str = "") -> Table:
    """In the paper's own form: two lines a row, the paper's and ours. `unlike`: see `unlike_paper`."""
    from rich.table import Table

    drawn = Table(title=_title(table, cases, unlike), title_justify="left")
    for heading in ("", "", *(part for measure in MEASURED for part in (f"{measure}\nKidney", "\nTumor"))):
        drawn.add_column(heading, justify="right" if heading else "left")
    for row in ROWS[table]:
        paper = ["-"] * len(ORDER) if row.paper is None else [f"{value:.2f}" for value in row.paper]
        drawn.add_row(row.words, "paper", *paper)
        drawn.add_row("", "ours", *(f"{value:.2f}" for value in ours[row.words]), end_section=True)
    return drawn


def markdown(table: int, ours: Mapping[str, Numbers], cases: int, unlike: str = "") -> str:
    """The same as a Markdown table."""
    heads = (
        "",
        "",
        "Dice Kidney",
        "Dice Tumor",
        "Recall Kidney",
        "Recall Tumor",
        "Precision Kidney",
        "Precision Tumor",
    )
    lines = [_title(table, cases, unlike), "", _line(heads), _line(["---"] * 2 + ["--:"] * 6)]
    for row in ROWS[table]:
        paper = ["-"] * len(ORDER) if row.paper is None else [f"{value:.2f}" for value in row.paper]
        lines += [_line([row.words, "paper", *paper]), _line(["", "ours", *(f"{v:.2f}" for v in ours[row.words])])]
    return "\n".join(lines) + "\n"


def table_path(out: Path, table: int) -> Path:
    """Where the table is kept."""
    return out / f"table{table}.md"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
