"""A command-line flag for each field of `TrainConfig`, and the config that preset, file and flags make together."""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from kits_submit.errors import InputError
from train.config import OPTIONS, TrainConfig
from train.options import SWITCH, to_toml
from train.presets import preset as named_preset

PANEL = "Numbers of the training (each also a line of --config FILE)"
_OWN = ("preset",)  # fields that commands offer in words of their own


def with_config_flags(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with one flag a field, handed on in its `**flags` where they are given."""
    signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    default = TrainConfig()
    for name, known in OPTIONS.items():
        if name in _OWN:
            continue
        flag = "--" + name.replace("_", "-")
        if known.kind is SWITCH:
            kind: Any = bool | None
            declared = typer.Option(f"{flag}/--no{flag[1:]}", help=known.help, rich_help_panel=PANEL)
        else:
            kind = str | None
            shown = f"{known.help} Paper: {_shown(getattr(default, name))}"
            declared = typer.Option(flag, metavar=known.kind.metavar, help=shown, rich_help_panel=PANEL)
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, declared])
        )

    def flagged(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if value is not None or name not in OPTIONS})

    flagged.__name__, flagged.__doc__ = command.__name__, command.__doc__
    flagged.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flagged.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flagged


def make_config(base: TrainConfig, file: Path | None, flags: Mapping[str, object]) -> TrainConfig:
    """`base`, changed by a file's values, then by flags.

    Raises:
        InputError: a file that cannot be read, an unknown name, a value out of range.
    """
    if file is not None:
        base = base.changed(read_values(file), source=str(file))
    return base.changed(flags, source="the command line")


def base_config(preset: str | None, file: Path | None, otherwise: TrainConfig) -> TrainConfig:
    """The preset asked for, else the one that the file names, else `otherwise`.

    Raises:
        InputError: no such preset, or the file cannot be read.
    """
    name = preset
    if name is None and file is not None:
        named = read_values(file).get("preset")
        name = named if isinstance(named, str) else None
    return otherwise if name is None else named_preset(name)


def read_values(file: Path) -> dict[str, Any]:
    """The fields of a TOML file, or of a run's `config.json`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        text = file.read_text()
        values = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", fix="check the path", path=file) from None
    except (UnicodeDecodeError, ValueError) as error:
        fix = "write lines as `batch = 8`; --print-config shows them all"
        raise InputError(f"not TOML ({error})", fix=fix, path=file) from None
    if not isinstance(values, dict):
        raise InputError("holds no fields", fix="give a TOML file or a run's config.json", path=file)
    return values


def printed(config: TrainConfig) -> str:
    """As a TOML file that `--config` reads."""
    return to_toml(asdict(config))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value) or "none"
    return "none" if value is None else str(value) or "no"
