"""Has the pack what ComfyUI's registry asks for? python check_publish.py PYPROJECT [publish]

By the registry's specification of pyproject.toml. With `publish`, also what the publisher alone knows: their account
and the repository's address. Prints a sentence for each fault, and exits with 1 where there is one. Standard library.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = re.compile(r"[a-z]([-_.]?[a-z0-9]+)*", re.IGNORECASE)
VERSION = re.compile(r"\d+\.\d+\.\d+")
ACCOUNT = re.compile(r"[a-z0-9]([-_]?[a-z0-9])*", re.IGNORECASE)
ADDRESS = re.compile(r"https://[\w.-]+\.\w+/\S+")
PICTURE = re.compile(ADDRESS.pattern + r"\.(svg|png|jpg|gif)", re.IGNORECASE)
KNOWN = {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui", "includes"}


def of_project(project: dict[str, Any], folder: Path) -> Iterator[str]:
    name, licence = str(project.get("name", "")), project.get("license")
    if not NAME.fullmatch(name) or len(name) >= 100 or "comfyui" in name.lower():
        yield f"name is {name!r}, need letters, digits and single -_. between them, without ComfyUI"
    if not VERSION.fullmatch(str(project.get("version", ""))):
        yield f"version is {project.get('version')!r}, need three numbers such as 1.0.0"
    if not isinstance(licence, dict) or not (
        licence.get("text") or (folder / licence.get("file", "-")).is_file()
    ):
        yield 'license is not { file = "NAME" } of a file that is there, nor { text = "NAME" }'
    if not project.get("description"):
        yield "description is missing"
    if not project.get("requires-python"):
        yield "requires-python is missing"
    if not any(each.startswith("Operating System :: ") for each in project.get("classifiers", [])):
        yield "classifiers name no operating system"
    if project.get("dependencies") != []:
        yield "dependencies is not []: ComfyUI would install them, and could replace a user's torch"


def of_comfy(comfy: dict[str, Any]) -> Iterator[str]:
    if unknown := sorted(comfy.keys() - KNOWN):
        yield f"[tool.comfy] has {', '.join(unknown)}, which the registry does not know"
    for name in ("DisplayName", "requires-comfyui"):
        if not comfy.get(name):
            yield f"[tool.comfy] {name} is missing"
    for name in ("Icon", "Banner"):
        if name in comfy and not PICTURE.fullmatch(str(comfy[name])):
            yield f"[tool.comfy] {name} is {comfy[name]!r}, need the https address of an SVG, PNG, JPG or GIF"


def of_publisher(project: dict[str, Any], comfy: dict[str, Any]) -> Iterator[str]:
    if not ACCOUNT.fullmatch(str(comfy.get("PublisherId", ""))):
        yield "[tool.comfy] PublisherId is missing: the name of your account at the registry"
    if not ADDRESS.fullmatch(str(project.get("urls", {}).get("Repository", ""))):
        yield "[project.urls] Repository is missing: the https address of the repository"


def faults(path: Path, publish: bool) -> Iterator[str]:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"cannot be read ({error})"
        return
    project, comfy = told.get("project", {}), told.get("tool", {}).get("comfy", {})
    yield from of_project(project, path.parent)
    yield from of_comfy(comfy)
    if publish:
        yield from of_publisher(project, comfy)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["publish"]):
        sys.exit(__doc__)
    found = [*faults(Path(sys.argv[1]), sys.argv[2:] == ["publish"])]
    for fault in found:
        print(f"error: {sys.argv[1]}: {fault}", file=sys.stderr)
    sys.exit(bool(found))
