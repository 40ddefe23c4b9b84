"""The generated pages of the reference: Python, command line, settings."""

import inspect
import io
import tokenize
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer.main
from annotated_types import BaseMetadata
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import echoreel
from echoreel.common.settings import _models_in

NOTE = "*This page is generated from the code by `scripts/site_pages.py`.*"
RECIPES = {  # what a table of settings is for: (module, class)
    "`GenerationSettings`: a video": ("echoreel.generation.settings", "GenerationSettings"),
    "`generation.json`: what a base recommends": ("echoreel.generation.settings", "RecommendedSettings"),
    "`echoreel train RECIPE.toml`": ("echoreel.training.train_adapter", "AdapterRecipe"),
    "`echoreel prepare pairs`": ("echoreel.training.prepare_settings", "PrepareSettings"),
    "`echoreel prepare manifest`": ("echoreel.library.choose_pairs", "PairSettings"),
    "`echoreel prepare prism RECIPE.toml`": ("echoreel.training.train_prism", "PrismRecipe"),
    "`echoreel prepare actors RECIPE.toml`": ("echoreel.embedded_base.base_recipe", "BaseRecipe"),
    "`echoreel prepare prompts RECIPE.toml`": ("echoreel.embedded_base.train_prompts", "PromptRecipe"),
    "`echoreel prepare judges RECIPE.toml`": ("echoreel.evaluation.actorbench.train_judge", "JudgeRecipe"),
    "`echoreel evaluate RECIPE.toml`": ("echoreel.evaluation.actorbench.benchmark", "EvaluateSettings"),
    "`echoreel library add`": ("echoreel.library.sources.add_sources", "AddSettings"),
    "Downloads of a library": ("echoreel.library.downloads", "DownloadSettings"),
    "Limits of videos": ("echoreel.media.decoding", "VideoLimits"),
}
SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def python_page() -> str:
    """The public surface, for mkdocstrings."""
    homes = {name: getattr(echoreel, name).__module__ for name in echoreel.__all__ if name[0] != "_"}
    return "\n\n".join(
        [
            "# Python",
            "Everything public is in `echoreel.__all__`: `import echoreel` and use these names. Names "
            "that are not here may change without notice. " + NOTE,
            *(f"::: {module}.{name}\n    options:\n      heading: {name}" for name, module in homes.items()),
            "## The errors\n\nEvery error that you can cause and mend is an `EchoReelError`.",
            "::: echoreel.common.errors\n    options:\n      show_root_heading: false\n      "
            "show_root_toc_entry: false\n      show_if_no_docstring: true\n      heading_level: 3",
        ]
    )


def command_line_page() -> str:
    """Every command with its arguments and options."""
    from echoreel.cli import app

    parts = ["# Command line", NOTE, "`echoreel COMMAND --help` prints the same."]
    for name, command in commands(typer.main.get_command(app), "echoreel"):
        parts.append(f"## {name}\n\n{inspect.cleandoc(command.help or '')}")
        if command.epilog:
            parts.append(f"```sh\n{command.epilog.removeprefix('Example: ')}\n```")
        rows = [row for parameter in command.params if (row := described(parameter))]
        parts.append("\n".join(["| option | what it does | default |", "| --- | --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands below one, as "echoreel library add"."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    else:
        for each, found in inner.items():
            yield from commands(found, f"{name} {each}")


def described(parameter: Any) -> str:
    """A row of one argument or option."""
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name.upper()).replace('|', ' or ')}`"
    elif parameter.metavar:
        names += f" `{parameter.metavar.replace('|', ' or ')}`"
    elif not parameter.is_flag:
        names += f" `{parameter.type.name.upper()}`"
    default = parameter.default
    shown = "" if default in (None, False, ()) or callable(default) else f"`{default}`"
    return f"| {names} | {cell(getattr(parameter, 'help', '') or '')} | {shown} |"


def settings_page() -> str:
    """Every key of every settings class that a user writes, with its type, default, limits and meaning."""
    parts = [
        "# Settings",
        NOTE,
        "A recipe is a TOML file; `[task]` in it is a table of its own. `--set task.batch=4` replaces a "
        "value. A misspelt key is an error that names the nearest known one.",
    ]
    told: set[type[BaseModel]] = set()
    for title, (module, name) in RECIPES.items():
        root = getattr(__import__(module, fromlist=[name]), name)
        parts.append(f"## {title}")
        for path, cls in tables(root):
            if path:
                parts.append(f"### {path}: {cls.__name__}")
            if cls in told:
                parts.append(f"See `{cls.__name__}` above.")
                continue
            told.add(cls)
            rows = [row(key, field, meanings(cls)) for key, field in cls.model_fields.items()]
            head = ["| key | type | default | limits | meaning |", "| --- | --- | --- | --- | --- |"]
            parts += [first_paragraph(cls), "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def tables(cls: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """A settings class and those in it, each with the name of its table."""
    yield path, cls
    for key, field in cls.model_fields.items():
        for inner in _models_in(field.annotation):
            yield from tables(inner, f"{path}.{key}".removeprefix("."))


def row(key: str, field: FieldInfo, meaning: dict[str, str]) -> str:
    """A row of one key."""
    if _models_in(field.annotation):
        default, kind, limits = ("required" if field.is_required() else "see below"), "table", []
    else:
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        kind, limits = told_type(field.annotation)
    limits += [limit for each in field.metadata if (limit := limited(each))]
    told = [f"`{key}`", cell(kind), cell(default), cell(", ".join(limits)), cell(meaning.get(key, ""))]
    return f"| {' | '.join(told)} |"


def told_type(annotation: Any) -> tuple[str, list[str]]:
    """A type as a reader says it, and the limits that stand in it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, limits = told_type(inner[0])
        return kind, [*limits, *(limit for each in inner[1:] for limit in all_limited(each))]
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner), []
    if origin in (Union, UnionType, tuple, list, dict):
        parts = [told_type(part) for part in inner if part not in (type(None), ...)]
        limits = list(dict.fromkeys(limit for _, found in parts for limit in found))
        kinds = [kind for kind, _ in parts]
        if origin in (Union, UnionType):
            return " or ".join(kinds), limits
        return f"{'list' if origin in (tuple, list) else 'table'} of {', '.join(kinds)}", limits
    return getattr(annotation, "__name__", str(annotation)), []


def all_limited(each: Any) -> list[str]:
    """The limits of one piece of metadata, which may be a field with some of its own."""
    metadata = each.metadata if isinstance(each, FieldInfo) else [each]
    return [limit for found in metadata if (limit := limited(found))]


def limited(limit: Any) -> str:
    """A limit such as ">= 0"."""
    if isinstance(limit, BaseMetadata):
        name = type(limit).__name__.lower()
        if name in SIGNS:
            return f"{SIGNS[name]} {getattr(limit, name):g}"
        if name in ("minlen", "maxlen"):
            most = getattr(limit, "max_length", None)
            return f"at most {most} values" if most else f"at least {getattr(limit, 'min_length', 0)} values"
    return ""


def meanings(cls: type[BaseModel]) -> dict[str, str]:
    """The comment beside each key in the source, of the class and of those that it derives from."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= commented(inspect.getsource(each))
    return found


def commented(source: str) -> dict[str, str]:
    """Comments by the key whose definition they stand in or behind."""
    found: dict[str, str] = {}
    key, fresh = "", True
    for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc(source)).readline):
        if token.type == tokenize.NAME and fresh:
            key = token.string
        if token.type == tokenize.COMMENT and key:
            found[key] = f"{found.get(key, '')} {token.string.removeprefix('#').strip()}".strip()
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            fresh = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return found


def first_paragraph(cls: type[BaseModel]) -> str:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]


def cell(text: str) -> str:
    """Text that does not break a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
