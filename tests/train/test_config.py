"""A config from preset, file and flags; its values from text and back."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from kits_submit.errors import InputError
from train.commands.train import train_command
from train.config import OPTIONS, TrainConfig
from train.flags import base_config, make_config, printed
from train.options import REAL, WHOLE, optional, row, to_toml
from train.presets import TABLE_2, TABLE_3, preset, preset_names


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(train_command)
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("name", preset_names())
def test_a_printed_config_reads_back(name: str, tmp_path: Path) -> None:
    done = run("--preset", name, "--print-config")
    assert done.exit_code == 0, done.output
    file = tmp_path / "numbers.toml"
    file.write_text(done.stdout)
    assert make_config(base_config(None, file, preset("demo")), file, {}) == preset(name)
    assert tomllib.loads(done.stdout).keys() == OPTIONS.keys()


def test_every_field_has_a_flag_in_the_help() -> None:
    text = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(_app(), ["--help"]).output
    flags = {"--" + name.replace("_", "-") for name in OPTIONS}
    assert {flag for flag in flags if flag not in text} == set()


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(train_command)
    return app


def test_flags_go_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "numbers.toml"
    file.write_text('batch = 4\npatients = 2\nspacing_mm = [3, 1.5, 1.5]\nsecond_patch = "none"\n')
    done = run(
        "--preset", "paper", "--config", str(file), "--batch", "6", "--patch", "40,44,48", "--compile", "--print-config"
    )
    assert done.exit_code == 0, done.output
    got = make_config(TrainConfig(), None, tomllib.loads(done.stdout))
    wanted = replace(
        preset("paper"),
        batch=6,
        patients=2,
        spacing_mm=(3.0, 1.5, 1.5),
        second_patch=None,
        patch=(40, 44, 48),
        compile=True,
    )
    assert got == wanted


def test_a_runs_config_json_is_a_config_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(preset("bigger-aspp").to_json())
    assert make_config(base_config(None, file, preset("demo")), file, {"seed": "7"}) == replace(
        preset("bigger-aspp"), seed=7
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("batch = ", "not TOML"),
        ("batches = 3", r"unknown fields \['batches'\]"),
        ("batch = 1.5", "batch is 1.5, allowed: N"),
        ("patch = [48, 48]", r"patch is \[48, 48\], allowed: N,N,N"),
        ("compile = 3", "compile is 3, allowed: true or false"),
        ("batch = 0", "TrainConfig.batch is 0, allowed: above 0"),
        ('architecture = "unet"', "architecture is unet, allowed: proposed, bigger-encoder"),
        ('preset = "best"', "preset is 'best', allowed: paper"),
    ],
)
def test_a_bad_file_is_told_in_one_line(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "numbers.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=told) as error:
        make_config(base_config(None, file, preset("demo")), file, {})
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        make_config(preset("demo"), tmp_path / "none.toml", {})


def test_values_from_text() -> None:
    assert row(REAL, 2).parse("0.5, 99.5") == (0.5, 99.5)
    assert optional(row(WHOLE, 3)).parse("none") is None
    assert optional(row(WHOLE, 3)).parse([4, 8, 12]) == (4, 8, 12)
    with pytest.raises(ValueError, match="True"):
        WHOLE.parse(bool(1))
    written = {"a": None, "b": 1e-8, "c": (1, 2), "d": True, "e": 'x"y'}
    assert tomllib.loads(to_toml(written)) == {
        "a": "none",
        "b": 1e-8,
        "c": [1, 2],
        "d": True,
        "e": 'x"y',
    }


def test_the_presets_of_the_tables_change_what_their_name_says() -> None:
    paper = asdict(preset("paper"))
    for name in (*TABLE_2, *TABLE_3):
        own = asdict(preset(name))
        changed = {field for field in own if own[field] != paper[field]} - {"preset"}
        assert changed == (
            {"architecture"}
            if name in TABLE_2
            else {"focal_weight"} - ({"focal_weight"} if name == "focal-0.5" else set())
        )
    assert [preset(name).focal_weight for name in TABLE_3] == [5, 2, 0.5, 0.2]


def test_differences_name_both_values() -> None:
    assert preset("paper").differences(replace(preset("paper"), batch=8)) == ["batch (39, there 8)"]
    assert preset("paper").differences(preset("paper")) == []


@pytest.mark.parametrize("text", ["[]", "{", '{"batch": "x"}'])
def test_a_damaged_config_json_is_told(text: str) -> None:
    with pytest.raises(InputError, match="config"):
        TrainConfig.from_json(text)


def test_printed_is_flat_toml() -> None:
    assert json.loads(json.dumps(tomllib.loads(printed(preset("paper")))))["batch"] == 39
