"""Settings: frozen pydantic models that refuse unknown keys; TOML files, every mistake told at once."""

import re
import tomllib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic._internal._model_construction import ModelMetaclass
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from echoreel.common.errors import SettingsError
from echoreel.common.places import regular_file
from echoreel.common.text import HALVES, json_value

MOST = 2**63 - 1  # of any whole number: what the libraries below can hold
FILE_BYTES = 1 << 20  # of a file of settings
MOST_PARTS = 64  # of a dotted key: Python's reader spends time and memory by the square of their number
TOML = re.compile(r"#[^\n]*|\"[^\"\n]*\"|'[^'\n]*'|[\w-]+|[ \t]+|(?P<dot>\.)|(?P<end>.)", re.DOTALL)
MOST_TOLD = 10  # mistakes of one file
SHOULD = re.compile("(Input|List|Tuple|Dictionary|String|Value) should (be|have)")
PYDANTIC = re.compile(r" after validation, not [\w ]+$| or instance of \w+")
NO_NUMBER = PydanticCustomError("no_number", "need a number, not true or false")
SHOWN = 60  # characters of what a file says, in a message
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=86_400)]  # a length, or the least one
Longest: TypeAlias = Annotated[float, Field(ge=0.1, le=86_400)]  # the greatest length of a part, in seconds
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Layers: TypeAlias = Annotated[int, Field(gt=0, le=1024)]  # of a network
Width: TypeAlias = Annotated[int, Field(gt=0, le=65_536)]  # of a layer, or another of its sizes
MOST_SIDE = 16_384  # pixels of a video
Pixels: TypeAlias = Annotated[int, Field(ge=16, le=MOST_SIDE)]  # a side


class _Told(ModelMetaclass):
    """Calls of the class answer as files do: SettingsError with the nearest key, not pydantic's own error."""

    if not TYPE_CHECKING:  # which would hide the keys from type checkers

        def __call__(cls, **values: Any) -> Any:
            return validated(cls, values)


class Settings(BaseModel, metaclass=_Told):
    """Base of every settings class: frozen; a misspelt key is an error, and so are nan, inf, true in place of
    a number, whole numbers of more than 64 bits, bytes that are no UTF-8, and null bytes in a path."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, data: Any) -> Any:
        wrong = [
            InitErrorDetails(type=NO_NUMBER, loc=(name,), input=value)
            for name, value in (data.items() if isinstance(data, dict) else ())
            if _holds_truth(value) and name in cls.model_fields and _is_number(cls.model_fields[name])
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return data

    @field_validator("*")
    @classmethod
    def _within_reach(cls, value: Any) -> Any:
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, int) and not -MOST <= number <= MOST for number in numbers):
            raise ValueError("need whole numbers that fit into 64 bits")
        texts = [str(text) for text in numbers if isinstance(text, str | Path)]
        if any("\0" in str(path) for path in numbers if isinstance(path, Path)):
            raise ValueError("need a name without null bytes")
        if any(HALVES.search(text) for text in texts):
            raise ValueError("need text in UTF-8")
        return value


Model = TypeVar("Model", bound=BaseModel)


def load_settings(path: Path | str | None, cls: type[Model], overrides: Sequence[str] = ()) -> Model:
    """Settings from a TOML file, with `overrides` such as "fit.steps=100" put over it; or from these alone.

    An override's value is read as TOML, or as plain text where it is none. Raises SettingsError naming every
    mistake by its dotted path, and for an unknown key the nearest known one.
    """
    data = {} if path is None else _parsed(Path(path), _toml, "TOML")
    for override in overrides:
        _put(data, override)
    return validated(cls, data, "--set" if path is None else Path(path).name)


def load_json(path: Path, cls: type[Model]) -> Model:
    """Settings from a JSON file. Raises SettingsError as `load_settings` does."""
    return validated(cls, _parsed(path, json_value, "JSON"), str(path))


def checked(cls: type[Model], /, **values: Any) -> Model:
    """`cls(**values)` that raises SettingsError, told as for a file, where pydantic would raise its own."""
    return validated(cls, values)


def validated(cls: type[Model], data: dict[str, Any], source: str = "") -> Model:
    """A settings object from nested dictionaries. Raises SettingsError as `load_settings` does."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        mistakes = [_told(cls, details) for details in found[:MOST_TOLD]]
        mistakes += [f"and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []
        count = "" if len(found) == 1 else f"{len(found)} mistakes: "
        prefix = f"{source}: " if source else ""
        raise SettingsError(f"{prefix}{count}{'; '.join(mistakes)}") from error


def _parsed(path: Path, parse: Callable[[str], Any], kind: str) -> Any:
    """What a small text file holds. Raises SettingsError."""
    if regular_file(path, SettingsError, f"a {kind} file").st_size > FILE_BYTES:
        raise SettingsError(f"{path}: over {FILE_BYTES >> 20} MiB, too large for a file of settings")
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror}); give the path of a {kind} file"
        ) from error
    except RecursionError as error:
        raise SettingsError(f"{path}: not {kind}: it nests too deeply") from error
    except ValueError as error:  # no UTF-8, no such syntax, a number of thousands of digits
        raise SettingsError(f"{path}: not {kind}: {_without_advice(error)}") from error


def _toml(text: str) -> Any:
    """What TOML says. Raises ValueError, also for a key of too many parts."""
    parts = 0
    for token in TOML.finditer(text):
        parts = 0 if token["end"] else parts + bool(token["dot"])
        if parts > MOST_PARTS:
            raise ValueError(f"a key of over {MOST_PARTS} parts")
    return tomllib.loads(text)


def _without_advice(error: ValueError) -> str:
    """Its message, without Python's advice to programmers."""
    return _short(str(error).split("; use sys.")[0], 4 * SHOWN)


def _short(text: str, most: int = SHOWN) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _put(data: dict[str, Any], override: str) -> None:
    """Set the key of "a.b=1" in nested dictionaries."""
    name, equals, text = override.partition("=")
    *tables, key = (part.strip() for part in name.split("."))
    if not equals or not all([*tables, key]):
        raise SettingsError(f"override {override!r}: need key=value, such as fit.steps=100")
    table = data
    for depth, part in enumerate(tables, 1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise SettingsError(f"override {override!r}: {'.'.join(tables[:depth])} is a value, not a table")
    table[key] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"override {text[:40]}…: need a shorter value") from error
    return parsed["value"] if parsed.keys() == {"value"} else text


def _told(cls: type[BaseModel], details: ErrorDetails) -> str:
    """One mistake in words: its dotted path, what we got, what we need."""
    *parents, name = details["loc"] or ("",)
    path = ".".join(_short(str(part)) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        known = _known_keys(cls, parents)
        near = get_close_matches(str(name)[:SHOWN], known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"{path}: unknown key; {advice}"
    if details["type"] == "missing":
        return f"{path}: missing"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    needs = PYDANTIC.sub("", SHOULD.sub("need", message, 1)).replace("valid dictionary", "table", 1)
    got = repr(details["input"])
    return f"{path}: got {_short(got)}, {needs}".removeprefix(": ")


def _known_keys(cls: type[BaseModel], parents: Sequence[int | str]) -> list[str]:
    """Keys of the settings class at a path below `cls`; of each that it can be, where it can be several."""
    classes = [cls]
    for part in parents:
        fields = [field for at in classes if (field := at.model_fields.get(str(part)))]
        if fields:  # other parts number a list's items or name a member of a union
            classes = [found for field in fields for found in _models_in(field.annotation)]
    return [key for at in classes for key in at.model_fields]


def _holds_truth(value: Any) -> bool:
    given = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(each, bool) for each in given)


def _is_number(field: FieldInfo) -> bool:
    """Whether a field takes numbers, and neither true nor false."""
    kinds = {*_kinds_in(field.annotation)}
    return bool(kinds & {int, float}) and bool not in kinds


def _kinds_in(annotation: Any) -> list[Any]:
    """The types that an annotation is made of; of a literal the type of its values."""
    if get_origin(annotation) is Literal:
        return [type(value) for value in get_args(annotation)]
    return [found for each in get_args(annotation) for found in _kinds_in(each)] or [annotation]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
