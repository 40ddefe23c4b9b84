"""Settings files: wrong in words that help."""

import os
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError

from echoreel.common.errors import SettingsError
from echoreel.common.settings import Settings, checked, load_json, load_settings


class Fit(Settings):
    learning_rate: PositiveFloat = 1e-4
    steps: PositiveInt = 100
    betas: tuple[float, float] = (0.9, 0.99)
    precision: Literal["fp32", "bf16"] = "fp32"


class Source(Settings):
    path: Path
    share: NonNegativeFloat = 1.0


class Recipe(Settings):
    name: str
    fit: Fit = Fit()
    sources: tuple[Source, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)
    resume: bool = True
    seed: int | None = None
    fallback: Fit | None = None


def written(folder: Path, content: str) -> Path:
    (folder / "recipe.toml").write_text(content)
    return folder / "recipe.toml"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("fit.steps=7", Recipe(name="a", fit=Fit(steps=7, learning_rate=0.1))),
        ("fit.learning_rate = 3e-5", Recipe(name="a", fit=Fit(learning_rate=3e-5))),
        ("fit.betas=[0.5, 0.6]", Recipe(name="a", fit=Fit(betas=(0.5, 0.6), learning_rate=0.1))),
        ("fit={steps=3}", Recipe(name="a", fit=Fit(steps=3))),
        ("name=runs/b", Recipe(name="runs/b", fit=Fit(learning_rate=0.1))),
        ('name="x=1"', Recipe(name="x=1", fit=Fit(learning_rate=0.1))),
        ("resume=false", Recipe(name="a", fit=Fit(learning_rate=0.1), resume=False)),
        ("weights.arms=2", Recipe(name="a", fit=Fit(learning_rate=0.1), weights={"arms": 2})),
    ],
)
def test_overrides_are_toml_values(tmp_path: Path, override: str, expected: Recipe) -> None:
    path = written(tmp_path, 'name = "a"\n[fit]\nlearning_rate = 0.1\n')
    assert load_settings(path, Recipe, [override]) == expected


@pytest.mark.parametrize("override", ["fit.steps=true", "fit.betas=[0.5, true]", "seed=false"])
def test_true_is_no_number(tmp_path: Path, override: str) -> None:
    path = written(tmp_path, 'name = "a"')
    with pytest.raises(SettingsError, match="need a number, not true or false"):
        load_settings(path, Recipe, [override])
    assert load_settings(path, Recipe, ["resume=true"]).resume


def test_the_last_override_wins(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "a"')
    assert load_settings(path, Recipe, ["seed=1", "seed=2"]).seed == 2


def test_all_mistakes_are_told_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        nmae = "a"
        sources = [{path = "a"}, {path = "b", shaer = 1}]
        [fit]
        learningrate = 1e-4
        steps = -3
        precision = "fp16"
        xyzzy = 1
        [fallback]
        step = 2
        """,
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(path, Recipe, ["weights.arms=heavy"])
    message = str(caught.value)
    assert message.startswith("recipe.toml: 9 mistakes: ")
    for part in (
        "name: missing",
        "nmae: unknown key; did you mean name?",
        "sources.1.shaer: unknown key; did you mean share?",
        "fit.learningrate: unknown key; did you mean learning_rate?",
        "fit.steps: got -3, need greater than 0",
        "fit.precision: got 'fp16', need 'fp32' or 'bf16'",
        "fit.xyzzy: unknown key; known are learning_rate, steps, betas, precision",
        "fallback.step: unknown key; did you mean steps?",
        "weights.arms: got 'heavy', need a valid number",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fit.steps", "need key=value"),
        ("=3", "need key=value"),
        ("fit..steps=3", "need key=value"),
        ('sources=[{path = "a\\u0000b"}]', r"sources\.0\.path: .*need a name without null bytes"),
        ("name=a\udcffb", r"need text in UTF-8"),
        ("name.first=3", "name is a value, not a table"),
        ("fit.stepz=3", r"fit\.stepz: unknown key; did you mean steps\?"),
    ],
)
def test_wrong_overrides_are_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(written(tmp_path, 'name = "a"'), Recipe, [override])


def test_files_that_are_no_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: there is no such file"):
        load_settings(tmp_path / "none.toml", Recipe)
    with pytest.raises(SettingsError, match=r"recipe\.toml: not TOML: .* line 1"):
        load_settings(written(tmp_path, "name: a"), Recipe)


BROKEN = {
    "nested": ("x = " + "[" * 9000, "it nests too deeply"),
    "digits": (f"steps = {'9' * 5000}", "Exceeds the limit"),
    "latin": ("name = 'é'".encode("latin-1"), "codec can't decode"),
    "null": ("name = 'a\0'", "not TOML"),
    "large": ("#" * 2_000_000, "over 1 MiB"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_files_that_no_reader_can_take_are_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=rf"recipe\.toml: .*{message}") as told:
        load_settings(path, Recipe)
    assert "sys." not in str(told.value)
    json_file = tmp_path / "recipe.json"
    json_file.write_bytes(path.read_bytes().replace(b"x = ", b"").replace(b"steps = ", b""))
    with pytest.raises(SettingsError, match=r"recipe\.json: "):
        load_json(json_file, Recipe)


@pytest.mark.parametrize("value", ["1e999", "-1e999", "nan", "9" * 30, "9" * 5000, "[" * 9000])
def test_numbers_beyond_any_machine_are_told(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError):
        load_settings(written(tmp_path, 'name = "a"'), Recipe, [f"fit.steps={value}"])


def test_pipes_and_folders_are_no_settings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", tmp_path):
        with pytest.raises(SettingsError, match="give the path of a TOML file"):
            load_settings(path, Recipe)


def test_checked_tells_mistakes_as_a_file_would() -> None:
    assert checked(Fit, steps=3) == Fit(steps=3)
    with pytest.raises(SettingsError, match=r"^steps: got 0, need greater than 0$"):
        checked(Fit, steps=0)


def test_a_call_of_the_class_tells_mistakes_as_a_file_does() -> None:
    with pytest.raises(SettingsError, match=r"^step: unknown key; did you mean steps\?$"):
        Fit(step=3)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Fit().steps = 3  # type: ignore[misc]
