"""`kits-submit adopt`: another framework's network as one ONNX file of ours. torch is imported inside alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kits_submit.errors import InputError, ModelError, UsageError
from kits_submit.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn


def adopt_command(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="What nnU-Net v2 trained (plans.json, fold_*), or its exported zip."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The ONNX file; its parity report goes beside it.")],
    folds: Annotated[
        str | None, typer.Option(metavar="0,1,...", help="Average these folds. Default: each that has ended.")
    ] = None,
    configuration: Annotated[str | None, typer.Option(help="Such as 3d_fullres, where FOLDER holds several.")] = None,
    checkpoint: Annotated[str, typer.Option(help="Of each fold, this file.")] = "checkpoint_final.pth",
    postprocessing: Annotated[
        bool, typer.Option(help="Keep largest components where the folds' cross-validation found that better.")
    ] = True,
    torch: Annotated[
        str | None, typer.Option("--torch", metavar="MODULE:FACTORY", help="In place of FOLDER: what makes a network.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="In place of FOLDER: an ONNX file.")] = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="Of --torch and --onnx: the Recipe, as JSON.")] = None,
) -> None:
    """Write another framework's network as one ONNX file with its Recipe inside, checked against torch."""
    from rich.console import Console

    ways = [way for way in (source, torch, onnx) if way is not None]
    if len(ways) != 1:
        raise UsageError(f"{len(ways)} networks are named", fix="name FOLDER, or --torch, or --onnx")
    if source is not None:
        chosen = None if folds is None else tuple(part.strip() for part in folds.split(","))
        made = adopt_nnunet(source, chosen, configuration, checkpoint, postprocessing=postprocessing)
    elif recipe is None:
        raise UsageError("--torch and --onnx need a Recipe", fix="write one as docs/adopt.md shows, --recipe FILE")
    else:
        assert torch is not None or onnx is not None, "one of three ways is named"
        made = adopt_torch(torch, recipe) if onnx is None and torch is not None else adopt_onnx(Path(ways[0]), recipe)
    _write(made, out)
    Console(stderr=True).print(
        f"{made.told} -> {out} ({len(made.content) / 1e6:.2f} MB); {made.parity}", highlight=False, soft_wrap=True
    )


@dataclass(frozen=True)
class Adopted:
    """- `content`: of the ONNX file. `told`: what it is of. `parity`: what was found. `report`: the same, as JSON."""

    content: bytes
    told: str
    parity: str
    report: str = ""


def adopt_nnunet(
    source: Path,
    folds: tuple[str, ...] | None = None,
    configuration: str | None = None,
    checkpoint: str = "checkpoint_final.pth",
    *,
    postprocessing: bool = True,
) -> Adopted:
    """A model of nnU-Net v2.

    Raises:
        ModelError: see `folder`, `plans`, `checkpoint`, `network`; or the file answers otherwise than torch.
        InputError: the extra `adopt` is not installed.
    """
    from export.adopt.checkpoint import load_checkpoint
    from export.adopt.folder import find_trained, unpacked
    from export.adopt.network import network_of
    from export.adopt.plans import plans_of

    with unpacked(source) as root:
        trained = find_trained(source, root, configuration, folds, checkpoint)
        loaded = [load_checkpoint(path, source) for path in trained.checkpoints]
        trainers = sorted({(one.trainer, one.configuration) for one in loaded})
        if len(trainers) > 1:
            told = " and ".join("/".join(pair) for pair in trainers)
            raise ModelError(f"its folds are of two trainers, {told}", fix="name those of one by --folds", path=source)
        called = configuration or loaded[0].configuration or trained.folder.name.split("__")[-1]
        provenance = {
            "framework": "nnU-Net v2", "trainer": loaded[0].trainer, "configuration": called,
            "folds": ",".join(trained.folds), "dataset": str(trained.plans.get("dataset_name", "")),
            "plans": str(trained.plans.get("plans_name", "")),
        }  # fmt: skip
        try:
            plans = plans_of(
                trained.plans, trained.dataset, called, mirrored=loaded[0].mirrored, members=len(loaded),
                largest=trained.largest if postprocessing else (), provenance=provenance,
            )  # fmt: skip
            names = [f"{path.parent.name}/{path.name}" for path in trained.checkpoints]
            members = [network_of(plans, one.weights, name, source) for one, name in zip(loaded, names, strict=True)]
        except ModelError as error:
            raise ModelError(error.what, fix=error.fix, path=source) from None
        return _exported(members, plans.recipe, f"{source} ({called}, fold {', '.join(trained.folds)})")


def adopt_torch(factory: str, recipe: Path) -> Adopted:
    """A network that a function makes.

    Raises:
        InputError: no such function. ModelError: a Recipe that is none, or an export that differs.
    """
    from export.adopt.network import network_of_factory

    return _exported([network_of_factory(factory)], _recipe(recipe), factory)


def adopt_onnx(model: Path, recipe: Path) -> Adopted:
    """An ONNX file, its graph as it is.

    Raises:
        ModelError: not ONNX, or a Recipe that is none.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from export.graph import INPUT
    from kits_submit.recipe import METADATA_KEY

    made = _recipe(recipe)
    try:
        graph = onnx.load(model)
    except (OSError, DecodeError, ValueError) as error:
        raise ModelError(f"not a usable ONNX file ({error})", fix="export it again", path=model) from None
    kept = [(entry.key, entry.value) for entry in graph.metadata_props if entry.key != METADATA_KEY]
    del graph.metadata_props[:]
    for key, value in [*kept, (METADATA_KEY, made.to_json())]:
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    names = [value.name for value in graph.graph.input]
    return Adopted(graph.SerializeToString(), str(model), f"its graph as it is ({names[0] if names else INPUT})")


def _exported(members: list[nn.Module], recipe: Recipe, told: str) -> Adopted:
    from export.adopt.graph import network_to_onnx, verified
    from export.verify import demand_parity

    content = network_to_onnx(members, recipe)
    report = verified(content, members, recipe)
    demand_parity(report)
    parity = f"torch and ONNX Runtime differ by at most {report.max_difference:.1e}"
    return Adopted(content, told, parity, report.to_json())


def _recipe(path: Path) -> Recipe:
    try:
        return Recipe.from_json(path.read_text())
    except OSError as error:
        raise InputError(f"the Recipe cannot be read ({error.strerror})", fix="name a JSON file", path=path) from None
    except ModelError as error:
        raise ModelError(error.what, fix="correct it as docs/adopt.md has it", path=path) from None


def _write(made: Adopted, out: Path) -> None:
    """The file as the runtime will take it, or nothing."""
    import tempfile

    from kits_submit.atomic import replacing
    from kits_submit.engine.model import load_model

    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / out.name
        tried.write_bytes(made.content)
        try:
            load_model(tried)
        except ModelError as error:
            raise ModelError(error.what, fix=error.fix, path=out) from None
    with replacing(out) as stream:
        stream.write(made.content)
    if made.report:
        with replacing(out.with_suffix(".parity.json")) as stream:
            stream.write(made.report.encode() + b"\n")
