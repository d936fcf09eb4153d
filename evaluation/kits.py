"""What the paper, KiTS19 and KiTS21/23 each measure, and what they say of empty masks. Knows no arrays.

    protocol  targets                                    measures
    --------  -----------------------------------------  -------------------------------------------
    paper     kidney {1}, tumor {2}                      Dice, recall, precision (its Tables 2 to 4)
    kits19    tk {1,2}, tu {2}                           Dice; composite = (tk + tu) / 2
    kits23    kidney_and_mass {1,2,3}, mass {2,3},       Dice, surface Dice at a tolerance
              tumor {2}
    all       the three above                            and HD95, ASSD, volume, centre, lesions

A cyst (label 3, KiTS21/23) counts as kidney in `paper` and `kits19`, as KiTS19's annotation has it.

Empty masks, by case and target:

    measure                        both empty   one empty
    -----------------------------  ----------   ----------------------------------------------------
    Dice, recall, precision,           1            0
      surface Dice
    HD95, ASSD, centre distance        0            the diagonal of the image: its longest distance
    volume error in %                  0            truth empty: undefined (null), left out of means
    lesion rates                   undefined    0 where there is a lesion to find, or one found
"""

from __future__ import annotations

from dataclasses import dataclass

Labelset = frozenset[int]

KIDNEY, TUMOR, CYST = 1, 2, 3


@dataclass(frozen=True)
class Target:
    """A structure to measure: the labels that form it.

    - `tolerance_mm`: surface distance that counts as agreement; None where no surface is measured.
    """

    name: str
    labels: Labelset
    tolerance_mm: float | None = None


PAPER = (Target("kidney", frozenset({KIDNEY, CYST})), Target("tumor", frozenset({TUMOR})))

KITS19 = (Target("tk", frozenset({KIDNEY, TUMOR, CYST})), Target("tu", frozenset({TUMOR})))

# KiTS19's own code compares with > 0 and > 1, so that a cyst is tumor; 4 and 5 as `compat` codes other values.
KITS19_OFFICIAL = (Target("tk", frozenset({KIDNEY, TUMOR, CYST, 4, 5})), Target("tu", frozenset({TUMOR, CYST, 5})))

# Hierarchical evaluation classes and tolerances of KiTS21 and KiTS23 (neheller/kits23, evaluation).
KITS23 = (
    Target("kidney_and_mass", frozenset({KIDNEY, TUMOR, CYST}), 1.0330772532390826),
    Target("mass", frozenset({TUMOR, CYST}), 1.1328796488598762),
    Target("tumor", frozenset({TUMOR}), 1.1498198361434828),
)

# Alone, on request: it has no official tolerance.
CYSTS = Target("cyst", frozenset({CYST}))

# Largest diameter in mm of T1a, T1b and T2 renal tumors (TNM: 4 cm, 7 cm).
SIZES: tuple[tuple[str, float], ...] = (("t1a", 40.0), ("t1b", 70.0), ("t2", float("inf")))

_PAPER_KEYS = tuple(f"{target.name}_{measure}" for target in PAPER for measure in ("dice", "recall", "precision"))
_KITS19_KEYS = ("tk_dice", "tu_dice", "composite")
_KITS23_KEYS = tuple(f"{target.name}_{measure}" for target in KITS23 for measure in ("dice", "sd"))
_DISTANCES = ("hd95_mm", "assd_mm", "centre_distance_mm", "volume_error_ml", "volume_error_percent")
_BEYOND_KEYS = tuple(f"{target.name}_{measure}" for target in KITS23 for measure in _DISTANCES)
LESION_RATES = ("sensitivity", "precision", "f1", "sq", "pq")
LESION_COUNTS = ("truth", "found", "predicted")
_SUFFIXES = ("", *(f"_{name}" for name, _ in SIZES))
LESION_KEYS = tuple(f"lesion_{name}{size}" for size in _SUFFIXES for name in LESION_RATES + LESION_COUNTS)


@dataclass(frozen=True)
class Protocol:
    """What is measured, under which keys.

    - `prediction_labels`: the values a prediction may hold. The truth may hold 0 to 3 in every protocol.
    """

    name: str
    keys: tuple[str, ...]
    prediction_labels: Labelset
    policy: str

    @property
    def targets(self) -> tuple[Target, ...]:
        """The structures whose volumes are told, and of which more may be asked for."""
        return {"paper": PAPER, "kits19": KITS19}.get(self.name, KITS23)

    def measures(self, part: str) -> bool:
        """Whether the measures of protocol `part` belong to this one."""
        return self.name in (part, "all")

    @property
    def beyond(self) -> bool:
        """Whether distances, volumes and lesions belong to it."""
        return self.name == "all"


_OVERLAP_POLICY = "a mask that is empty on both sides scores 1, on one side 0"

PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol("paper", _PAPER_KEYS, frozenset({0, 1, 2}), _OVERLAP_POLICY),
    "kits19": Protocol("kits19", _KITS19_KEYS, frozenset({0, 1, 2}), _OVERLAP_POLICY),
    "kits23": Protocol("kits23", _KITS23_KEYS, frozenset({0, 1, 2, 3}), _OVERLAP_POLICY),
    "all": Protocol(
        "all",
        tuple(dict.fromkeys(_PAPER_KEYS + _KITS19_KEYS + _KITS23_KEYS + _BEYOND_KEYS + LESION_KEYS)),
        frozenset({0, 1, 2, 3}),
        f"{_OVERLAP_POLICY}; distances: both 0, one the image's diagonal; lesion rates without lesions: undefined",
    ),
}
TRUTH_LABELS: Labelset = frozenset({0, 1, 2, 3})
MISSING_CHOICES = ("error", "background", "skip")


def badness(key: str) -> int:
    """How a key's values are worse: 1 higher, -1 lower, 2 farther from zero, 0 neither (a count)."""
    if key.endswith("_mm"):
        return 1
    if "volume_error" in key:
        return 2
    is_count = key.startswith("lesion_") and not any(f"_{rate}" in key for rate in LESION_RATES)
    return 0 if is_count else -1


def how_bad(key: str, value: float) -> float:
    """A number that grows as `value` gets worse: -10 mL is as bad as +10 mL."""
    way = badness(key)
    return abs(value) if way == 2 else way * value


def is_perfect(key: str, value: float) -> bool:
    """Whether it cannot be better: a Dice of 1, a distance or a volume error of 0."""
    return value == (1.0 if badness(key) == -1 else 0.0)


def bounds_of(key: str) -> tuple[float, float]:
    """What a key's mean cannot leave: 0 and 1 for shares, 0 for distances and counts."""
    way = badness(key)
    if way == 2:
        return -100.0 if key.endswith("_percent") else -float("inf"), float("inf")
    return 0.0, 1.0 if way == -1 else float("inf")


def target_of(key: str) -> str:
    """The target that a key measures: `kidney_and_mass` of `kidney_and_mass_sd`; `lesion` and `composite` too."""
    names = [target.name for target in (*KITS23, *PAPER, *KITS19, CYSTS)] + ["lesion", "composite"]
    return next(name for name in names if key == name or key.startswith(f"{name}_"))
