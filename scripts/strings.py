"""List every string that a user can read: errors, what commands print, help, public docstrings, other text.

    python scripts/strings.py [--long] [PATH...]

A line is `file:line kind text`. Kind `text` is any further string of three words or more: parts of messages,
labels of the page, and some that no user sees. `--long` shows only those of the other kinds with a sentence
of over 25 words. F-strings show their holes as `{}`.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

MOST_WORDS = 25  # of a sentence (CONTRIBUTING.md)
HELP = {"help", "epilog", "short_help"}
SAYS = {"say", "echo", "print", "busy", "warn"}
WORD = re.compile(r"[^\W\d_]{2,}")  # axes of einops have one letter


def main() -> int:
    """Print them; exit 1 when `--long` found any."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("echoreel")])
    parser.add_argument("--long", action="store_true")
    arguments = parser.parse_args()
    found = [one for path in files(arguments.paths) for one in strings(path)]
    if arguments.long:
        found = [one for one in found if one[1] != "text" and too_long(one[2])]
    for place, kind, text in found:
        print(f"{place} {kind}: {text}")
    print(f"{len(found)} strings", file=sys.stderr)
    return int(arguments.long and bool(found))


def files(paths: list[Path]) -> Iterator[Path]:
    """The Python files, in order."""
    for path in paths:
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def strings(path: Path) -> Iterator[tuple[str, str, str]]:
    """(file:line, kind, text) of each string of one file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = list(sure(path, tree))
    yield from found
    told_already = {text for _, _, text in found}
    nodes = list(ast.walk(tree))
    comments = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in comments | parts:
            for place, kind, text in told(path, "text", node):
                if text not in told_already and sum(map(bool, map(WORD.search, text.split()))) >= 3:
                    yield place, kind, " ".join(text.split())


def sure(path: Path, tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """What is a string of that kind by where it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args[:1]:
                yield from told(path, "error", argument)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in SAYS:
                for argument in node.args[:1]:
                    yield from told(path, "says", argument)
            for keyword in node.keywords:
                if keyword.arg in HELP:
                    yield from told(path, "help", keyword.value)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node)
            if text:
                yield f"{path}:{node.lineno}", "docs", " ".join(text.split())


def told(path: Path, kind: str, node: ast.expr) -> Iterator[tuple[str, str, str]]:
    """The text of a literal, an f-string, or either branch of a choice."""
    if isinstance(node, ast.IfExp):
        yield from told(path, kind, node.body)
        yield from told(path, kind, node.orelse)
    elif isinstance(node, ast.BinOp):
        yield from told(path, kind, node.left)
    elif isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield f"{path}:{node.lineno}", kind, "".join(parts)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield f"{path}:{node.lineno}", kind, node.value


def too_long(text: str) -> bool:
    """Has it a sentence, or a part between semicolons or colons, of more words than that?"""
    return any(len(part.split()) > MOST_WORDS for part in re.split(r"[.;:](?:\s|$)", text))


if __name__ == "__main__":
    sys.exit(main())
