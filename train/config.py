"""`TrainConfig`: every number of a training, flat and frozen. The presets stand in `train.presets`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from kits_submit.errors import InputError
from kits_submit.labels import CYST, LabelSet, label_set, names_labels
from kits_submit.regions import Regions
from train.options import NAMES, REAL, TEXT, WHOLE, Option, option, optional, row, switch

if TYPE_CHECKING:
    from kits_submit.types import Shape, Spacing

_Rule = tuple[Callable[[Any], bool], str]
_POSITIVE: _Rule = (lambda value: value > 0, "above 0")
_SHARE: _Rule = (lambda value: 0 <= value < 1, "at least 0 and below 1")
_AT_LEAST_0: _Rule = (lambda value: value >= 0, "at least 0")
_EDGES: _Rule = (lambda patch: all(edge >= 4 and edge % 4 == 0 for edge in patch), "three positive multiples of 4")
_EDGES_OR_NONE: _Rule = (lambda patch: patch is None or _EDGES[0](patch), f"{_EDGES[1]}, or none")
_NAME: _Rule = (bool, "a name")
_ANY: _Rule = (lambda _: True, "names of cases")
_THREE_WHOLE = row(WHOLE, 3)


def _one_of(*names: str) -> _Rule:
    return (lambda name: name in names, ", ".join(names))


@dataclass(frozen=True)
class TrainConfig:
    """One training; the defaults are the paper's first stage. Each field's help says what it is and where it is from.

    What the paper leaves open, and the reading taken here:

    - `clip_percentiles`: the paper prints 0.05 and 99.5, and says it follows nnU-Net, which uses 0.5 and 99.5; the
      print is followed.
    - `tversky_alpha`, `tversky_beta`: the paper gives neither; 0.3 and 0.7 are the best of Salehi et al.
      (arXiv 1706.05721), which it cites.
    - `batch`, `patients`: the paper's 39 and 13 are per worker, and it has two. An epoch visits each case once.
    - `inference_patch`: the network is fully convolutional, so it may be larger than `patch`, but it should not: its
      receptive field's radius is 83 voxels (`train.network.receptive`), so each voxel of a training patch sees the
      padding and the network learns to expect it there. One network at 3 x 1.5 x 1.5 mm, on three phantoms: mean kidney
      Dice 0.84 in 48-cubes, 0.78 in 48 x 64 x 64, 0.72 in 48 x 128 x 128. With `centre_jitter` a
      network minds less (docs/engine.md). The margin of 8 discards the outermost two voxels at stride 4, where
      padding weighs most.
    - `second_patch`: the second stage starts from the first one's mean weights, trains and infers in patches of this
      size, and repeats every other number; the paper names no other change.
    """

    preset: str = option("paper", TEXT, _NAME, "Name of the numbers that the others were changed from.")
    seed: int = option(0, WHOLE, _AT_LEAST_0, "Of the split, the patches, the weights and the phantoms.")

    labels: str = option(
        "kits19",
        TEXT,
        (names_labels, "kits19, kits23, or names of classes from 1 on such as kidney,tumor,cyst"),
        "Classes of the labels and of the masks: kits19 (kidney, tumor), kits23 (and cyst), or kidney,tumor,cyst,..",
    )
    answer: str = option(
        "softmax",
        TEXT,
        _one_of("softmax", "regions"),
        "softmax: one class a voxel. regions: a sigmoid each for kidney and mass, mass, tumor, as KiTS23 scores them.",
    )
    cysts_as_kidney: bool = switch("Take label 3 of the data for kidney, so that KiTS21 and KiTS23 train as kits19.")

    spacing_mm: Spacing | None = option(
        None,
        optional(row(REAL, 3)),
        (lambda mm: mm is None or min(mm) > 0, "three positive numbers, or none"),
        "Grid along Z, Y, X; none: the dataset's median (paper 2.4).",
    )
    clip_percentiles: tuple[float, float] = option(
        (0.05, 99.5),
        row(REAL, 2),
        (lambda pair: 0 <= pair[0] < pair[1] <= 100, "0 <= low < high <= 100"),
        "HU window, of the foreground (paper 2.3).",
    )
    max_slices: int = option(
        200, WHOLE, _POSITIVE, "Longer cases are cut along Z, all foreground kept, held-out ones too (paper 2.3)."
    )
    holdout: float = option(0.3, REAL, _SHARE, "Share of the cases kept for validation: 63 of 210 (paper 3.1).")
    holdout_cases: tuple[str, ...] = option((), NAMES, _ANY, "Cases kept for validation, by name, instead of a share.")
    omit_cases: tuple[str, ...] = option((), NAMES, _ANY, "Cases left out, by name, where the data has them.")
    omit_known_bad: bool = switch("Leave out KiTS19's cases whose first-release labels are wrong: 23, 68, 125, 133.")
    skip_bad_cases: bool = switch("Train on the rest where cases cannot be read, instead of none.")

    implants: int = option(
        0,
        WHOLE,
        _AT_LEAST_0,
        "Copies of each case with tumors drawn into its kidneys, beside it.",
    )
    healthy: int = option(0, WHOLE, _AT_LEAST_0, "Copies of each case with cysts alone, beside those with tumors.")
    pretrain: bool = switch("Train preset `pretraining` first, in RUN/pretraining, and start from its weights.")
    after: str = option(
        "",
        TEXT,
        _one_of("", "any-hospital"),
        "Preset trained first on the same data, in RUN/<its name>, whose weights this starts from; empty: none.",
    )
    beside_phantoms: int = option(0, WHOLE, _AT_LEAST_0, "Phantoms drawn beside the data, for training alone.")

    any_hospital: bool = switch("Draw those phantoms after any hospital's patients, not KiTS19's (phantom.variety).")

    patch: Shape = option((48, 48, 48), _THREE_WHOLE, _EDGES, "Training patch in voxels along Z, Y, X (paper 2.4).")
    batch: int = option(39, WHOLE, _POSITIVE, "Patches a step, per worker (paper 2.4).")
    patients: int = option(13, WHOLE, _POSITIVE, "Cases that a step's patches come from, per worker (paper 2.4).")
    background_above_air: bool = switch("Draw background centres above the HU window's lower end (not air, lung, fat).")
    background_beside: float = option(
        0.0,
        REAL,
        (lambda share: 0 <= share <= 1, "at least 0 and at most 1"),
        "Share of background centres drawn within 60 mm of the foreground, where a spleen or a bowel is taken for it.",
    )
    centre_jitter: float = option(
        0.0,
        REAL,
        (lambda share: 0 <= share < 0.5, "at least 0 and below 0.5"),
        "Share of the patch by which the drawn voxel may lie off its centre; 0 is the paper's central voxel (2.4).",
    )
    flip_axes: str = option(
        "",
        TEXT,
        (lambda axes: set(axes) <= set("zyx"), 'letters of "zyx"'),
        "Axes mirrored at random; the paper names no augmentation.",
    )
    augmentation: float = option(
        0.0, REAL, _AT_LEAST_0, "Strength of turns, stretches, contrast, slices and noise; 0 off, 1 for few scans."
    )

    contrast: float = option(
        0.0,
        REAL,
        (lambda share: 0 <= share <= 1, "at least 0 and at most 1"),
        "Share of augmented patches whose contrast is drawn anew: phase, kidneys, organs, noise.",
    )

    fat: float = option(
        0.0,
        REAL,
        (lambda share: 0 <= share <= 1, "at least 0 and at most 1"),
        "Share of augmented patches whose fat around and inside kidneys is drawn anew.",
    )

    whole: bool = switch("Teach tumors as kidney: a network that says where, beside one that says what (export.pair).")

    tversky_alpha: float = option(0.3, REAL, _AT_LEAST_0, "Weight of false positives (Salehi et al.).")
    tversky_beta: float = option(0.7, REAL, _AT_LEAST_0, "Weight of false negatives (Salehi et al.).")
    tversky_over: str = option(
        "batch",
        TEXT,
        _one_of("batch", "patch"),
        "What its sums run over: a batch's are its largest tumors', a patch's weigh small ones as much.",
    )
    tversky_smooth: float = option(1.0, REAL, _POSITIVE, "Voxels added to both sides of its ratio.")
    tumor_shift: float = option(
        0.0,
        REAL,
        _AT_LEAST_0,
        "Taken off the tumor's logit in the loss, so that the answer leans to it (Menon et al., arXiv 2007.07314).",
    )
    focal_weight: float = option(0.5, REAL, _AT_LEAST_0, "Of Focal beside Tversky (paper, Table 3).")
    focal_gamma: float = option(
        2.0,
        REAL,
        (lambda gamma: gamma == 0 or gamma >= 1, "0, or at least 1 (between, its slope at p = 1 is endless)"),
        "Focal's exponent (paper 2.2); 0 is the cross-entropy.",
    )

    architecture: str = option(
        "proposed",
        TEXT,
        _one_of("proposed", "bigger-encoder", "bigger-aspp", "decoder-every-stage-1", "decoder-every-stage-2"),
        "The network: the paper's, or one of its Table 2.",
    )
    dropout: float = option(
        1.0,
        REAL,
        (lambda share: 0 <= share <= 1, "at least 0 and at most 1"),
        "Share of the paper's dropout rates (0.5, 0.5, 0.1) that is kept.",
    )

    learning_rate: float = option(1e-3, REAL, _POSITIVE, "Adam's first (paper 2.4).")
    warmup: float = option(0.0, REAL, _SHARE, "Share of the planned steps in which the rate rises from 0; cosine only.")
    schedule: str = option(
        "plateau",
        TEXT,
        _one_of("plateau", "cosine"),
        "plateau: times plateau-factor where the loss does not fall (paper 2.4). cosine: to 0 over the planned steps.",
    )
    plateau_factor: float = option(
        0.1, REAL, (lambda factor: 0 < factor < 1, "above 0 and below 1"), "What the rate is multiplied by (paper 2.4)."
    )
    plateau_patience: int = option(20, WHOLE, _AT_LEAST_0, "Epochs without a lower loss (paper 2.4).")
    min_learning_rate: float = option(1e-8, REAL, _AT_LEAST_0, "Training ends below it (paper 2.4).")
    max_epochs: int = option(300, WHOLE, _POSITIVE, "Passes over the cases at most (paper 2.4).")
    max_steps: int | None = option(
        None,
        optional(WHOLE),
        (lambda steps: steps is None or steps > 0, "above 0, or none"),
        "Ends the training earlier; cosine plans with it.",
    )
    ema_decay: float = option(
        0.0, REAL, _SHARE, "Of the mean over weights that is validated and exported; 0 takes the last weights."
    )

    second_patch: Shape | None = option(
        None, optional(_THREE_WHOLE), _EDGES_OR_NONE, "Patch of a second stage from the first's weights (paper 2.4)."
    )
    inference_patch: Shape = option((48, 48, 48), _THREE_WHOLE, _EDGES, "Patch that the runtime cuts a volume into.")
    margin: Shape = option(
        (8, 8, 8),
        _THREE_WHOLE,
        (lambda margin: min(margin) >= 0, "three numbers of at least 0"),
        "Its outer voxels that are discarded (paper 2.4).",
    )

    keep: str = option(
        "best",
        TEXT,
        _one_of("best", "last"),
        "Which validated state is exported: the best by held-out Dice, or the last, so that they choose nothing.",
    )
    validate_every: int = option(
        10, WHOLE, _AT_LEAST_0, "Epochs between validations on whole volumes; 0: at the end alone."
    )
    checkpoint_minutes: float = option(2.0, REAL, _AT_LEAST_0, "Between checkpoints.")
    precision: str = option(
        "fp32", TEXT, _one_of("fp32", "bf16", "fp16", "fp64"), "bf16 and fp16 are mixed; fp16 on a GPU alone."
    )
    compile: bool = switch("Through torch.compile.")
    deterministic: bool = switch("Slower GPU kernels that repeat bit by bit; a CPU always does.")
    loaders: int = option(2, WHOLE, _AT_LEAST_0, "Threads that read patches ahead; 0: none.")
    tensorboard: bool = switch("Write scalars and pictures for TensorBoard.", on=True)
    phantoms: int = option(48, WHOLE, _POSITIVE, "How many are drawn where no data is given.")

    def __post_init__(self) -> None:
        for name, known in OPTIONS.items():
            value = getattr(self, name)
            if not known.holds(value):
                raise InputError(f"TrainConfig.{name} is {value}, allowed: {known.allowed}", fix="change the option")
        for name in ("inference_patch", "second_patch"):
            edges = getattr(self, name)
            if edges and any(2 * m >= edge for m, edge in zip(self.margin, edges, strict=True)):
                what = f"TrainConfig.margin is {self.margin}, allowed: under half of {name} {edges}"
                raise InputError(what, fix="change the option")
        if self.answer == "regions":
            try:
                Regions.of(self.label_set)
            except ValueError as error:
                raise InputError(f"TrainConfig.answer is regions, labels {error}", fix="change the option") from None
        if self.cysts_as_kidney and len(self.label_set) > CYST:
            what = f"TrainConfig.cysts_as_kidney with labels {self.labels}, which have a class {CYST} of their own"
            raise InputError(what, fix="use --labels kits19")
        if self.schedule == "cosine" and self.max_steps is None:
            raise InputError("TrainConfig.schedule is cosine without max_steps", fix="say how many steps to plan for")

    @property
    def label_set(self) -> LabelSet:
        """The classes of the labels and of the masks."""
        return label_set(self.labels)

    @property
    def regions(self) -> Regions | None:
        """What the network answers with, where that is not a class each."""
        return Regions.of(self.label_set) if self.answer == "regions" else None

    @property
    def outputs(self) -> int:
        """Channels of the network's answer."""
        return len(self.label_set if self.regions is None else self.regions)

    def second(self) -> TrainConfig | None:
        """The second stage's own config; None where there is none."""
        if self.second_patch is None:
            return None
        return replace(self, patch=self.second_patch, inference_patch=self.second_patch, second_patch=None)

    def changed(self, values: Mapping[str, object], *, source: str) -> TrainConfig:
        """With fields parsed from text or from a file's values.

        Raises:
            InputError: an unknown field, a value of another type or out of range; `source` names where it stands.
        """
        unknown = sorted(values.keys() - OPTIONS.keys())
        if unknown:
            raise InputError(f"{source} has unknown fields {unknown}", fix="see --print-config for the names")
        parsed = {}
        for name, value in values.items():
            known = OPTIONS[name]
            try:
                parsed[name] = known.kind.parse(value)
            except ValueError:
                wanted = known.kind.metavar or "true or false"
                raise InputError(f"{source}: {name} is {value!r}, allowed: {wanted}", fix="change it") from None
        return replace(self, **parsed)

    def differences(self, other: TrainConfig) -> list[str]:
        """`batch 8 here, 4 there`, for each field in which the two differ."""
        ours, theirs = asdict(self), asdict(other)
        return [f"{name} ({ours[name]}, there {theirs[name]})" for name in ours if ours[name] != theirs[name]]

    def to_json(self) -> str:
        """Every field, by name."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Inverse of `to_json`.

        Raises:
            InputError: not a config, an unknown field or a value out of range.
        """
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"the config is not JSON ({error.msg})", fix="give a run's config.json") from None
        if not isinstance(raw, dict):
            raise InputError(f"the config is a JSON {type(raw).__name__}", fix="give a run's config.json")
        return cls().changed(raw, source="the config")


OPTIONS: dict[str, Option] = {known.name: known.metadata["option"] for known in fields(TrainConfig)}
