"""What this machine has: versions, GPU, memory, extras, bases, adapters, write access; for `doctor`."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import psutil
from huggingface_hub.constants import HF_HUB_CACHE
from packaging.requirements import Requirement

from echoreel.common.checksums import damaged_weights
from echoreel.common.errors import OutputError
from echoreel.common.extras import EXTRAS
from echoreel.common.places import WEIGHTS, check_outputs, resolved, small_file
from echoreel.common.versions import NEWEST_TESTED, untested

State: TypeAlias = Literal["ok", "note", "problem"]
DEPTH = 4  # folders below the current one in which adapters are looked for
MEMORY, DISK = 2 * 2**30, 2**30  # bytes that the embedded model and its outputs need at most


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do about it."""

    subject: str
    state: State
    told: str
    advice: str = ""

    def line(self) -> str:
        mark = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}[self.state]
        return f"{mark} {self.subject:<12} {self.told}{f': {self.advice}' if self.advice else ''}"


@dataclass(frozen=True)
class FoundAdapter:
    """An adapter on this machine. family: of the bases that it may fit. size: of its weights, bytes."""

    name: str
    family: str
    sites: int
    size: int
    source: Literal["packaged", "folder", "hub cache"]

    def details(self) -> dict[str, Any]:
        return asdict(self)


def examined() -> list[Finding]:
    """Everything that `doctor` looks at. Changes nothing and uses no network."""
    return [
        *(_versions(), _packages(), *_untested(), _device(), _memory()),
        *(*_extras(), _weights(), *_cached(), *_writable()),
    ]


def adapters(folder: Path | None = None) -> list[FoundAdapter]:
    """The packaged one, those some folders below `folder` (the current one), and those of the hub's cache."""
    places = [
        ("packaged", WEIGHTS / "adapter"),
        *(("folder", path) for path in _folders(folder or Path())),
        *(("hub cache", path) for path in sorted(Path(HF_HUB_CACHE).glob("models--*/snapshots/*"))),
    ]
    found = []
    for source, place in places:
        config = _json(place / "config.json")
        weights = place / "diffusion_pytorch_model.safetensors"
        if config.get("_class_name") == "ActionAdapter" and weights.is_file():
            name = {"packaged": "embedded", "hub cache": _hub_id(place)}.get(source, str(place))
            sites = config.get("sites")
            count = len(sites) if isinstance(sites, dict) else 0  # somebody else's may say anything
            size = weights.stat().st_size
            found.append(FoundAdapter(name, str(config.get("family")), count, size, source))  # type: ignore[arg-type]
    return found


def cached_bases() -> dict[str, str]:
    """Bases in the hub's cache that an adapter may join: hub id -> family."""
    indexes = sorted(Path(HF_HUB_CACHE).glob("models--*/snapshots/*/model_index.json"))
    if not indexes:
        return {}  # without the families, which load torch
    from echoreel.bases.lookup import FAMILIES

    known = {family.denoiser_type.__name__: family.name for family in FAMILIES}
    bases = {}
    for index in indexes:
        told = [part for part in _json(index).values() if isinstance(part, list) and len(part) == 2]
        parts = [kind for _, kind in told if isinstance(kind, str)]
        if family := next((known[part] for part in parts if part in known), None):
            bases[_hub_id(index.parent)] = family
    return bases


def _versions() -> Finding:
    names = ("echoreel", "torch", "diffusers", "transformers", "av")
    told = ", ".join(f"{name} {_version(name)}" for name in names)
    return Finding("versions", "ok", f"Python {platform.python_version()}, {told}")


def _packages() -> Finding:
    """Whether what is installed is what EchoReel asks for."""
    wrong = []
    for text in importlib.metadata.requires("echoreel") or ():
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            version = _version(wanted.name)
            if version == "missing" or not wanted.specifier.contains(version, prereleases=True):
                wrong.append(f"{wanted.name} {version}, need {wanted.specifier}")
    if not wrong:
        return Finding("packages", "ok", "all that EchoReel needs are installed")
    return Finding(
        "packages", "problem", "; ".join(wrong), "install EchoReel again in an environment of its own"
    )


def _untested() -> Iterator[Finding]:
    """Packages that are newer than those tested."""
    for package in NEWEST_TESTED:
        if said := untested(package):
            told, _, advice = said.partition("; ")
            yield Finding("newer", "note", told, advice)


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        told = f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        return Finding("GPU", "ok", told)
    count = torch.get_num_threads()
    threads = f"{count} processor thread{'s' if count > 1 else ''}"
    if torch.backends.mps.is_available():
        return Finding("GPU", "note", f"Apple GPU, not tested and not used; {threads}")
    advice = "the embedded model needs none; for large bases install torch for your GPU (pytorch.org)"
    return Finding("GPU", "note", f"none found; {threads}", advice)


def _memory() -> Finding:
    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    told = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if free < MEMORY:
        return Finding("memory", "problem", told, "close other programs; the embedded model needs 2 GiB")
    return Finding("memory", "ok", told)


def _extras() -> Iterator[Finding]:
    missing: dict[str, list[str]] = {}
    for module, (package, extra) in EXTRAS.items():
        missing.setdefault(extra, [])
        if importlib.util.find_spec(module) is None:
            missing[extra].append(package)
    present = [extra for extra, packages in missing.items() if not packages]
    if present:
        yield Finding("extras", "ok", ", ".join(sorted(present)))
    for extra, packages in sorted(missing.items()):
        if packages:
            advice = f"if you need it, pip install 'echoreel[{extra}]', or in a clone scripts/setup {extra}"
            yield Finding(f"[{extra}]", "note", f"{', '.join(packages)} missing", advice)


def _weights() -> Finding:
    kinds, again = ("base", "adapter"), "install EchoReel again"
    if not all(any((WEIGHTS / kind).glob("*.json")) for kind in kinds):
        return Finding("weights", "problem", "the embedded model is missing", again)
    if damaged := damaged_weights(*kinds, "judges"):
        return Finding("weights", "problem", f"the embedded model is damaged: {damaged} was changed", again)
    return Finding("weights", "ok", "the embedded base and its adapter are here")


def _cached() -> Iterator[Finding]:
    """Bases in the hub's cache that an adapter may join, and adapters."""
    bases = cached_bases()
    advice = "--base with a hub id downloads one"
    told = ", ".join(f"{name} ({family})" for name, family in bases.items()) or "none in the hub's cache"
    yield Finding("bases", "ok" if bases else "note", told, "" if bases else advice)
    found = [adapter for adapter in adapters() if adapter.source != "packaged"]
    told = ", ".join(f"{adapter.name} ({adapter.family})" for adapter in found) or "only the embedded one"
    advice = "docs/how-to/train-your-own.md makes one for another base"
    yield Finding("adapters", "ok" if found else "note", told, "" if found else advice)


def _writable() -> Iterator[Finding]:
    places = {
        "this folder": Path(),
        "hub cache": Path(HF_HUB_CACHE),
        "temporary": Path(tempfile.gettempdir()),
    }
    for name, place in places.items():
        try:
            check_outputs([place / "echoreel-doctor"], overwrite=True)
        except OutputError as error:
            advice = "set HF_HOME to a folder that you can write to" if name == "hub cache" else "use another"
            yield Finding(name, "problem", str(error).split(";")[0], advice)
        else:
            free = psutil.disk_usage(str(_existing(place))).free
            told = f"can be written, {free / 2**30:.1f} GiB free"
            yield Finding(name, "ok" if free > DISK else "problem", told, "" if free > DISK else "make room")


def _folders(top: Path) -> Iterator[Path]:
    """Folders with a config.json, at most `DEPTH` below; none that is hidden."""
    for here, inside, files in os.walk(top):
        depth = len(Path(here).relative_to(top).parts)
        inside[:] = sorted(
            n for n in inside if depth < DEPTH and not n.startswith((".", "__", "node_modules", "models--"))
        )
        if "config.json" in files and not resolved(here).is_relative_to(WEIGHTS):
            yield Path(here)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(small_file(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _hub_id(snapshot: Path) -> str:
    """Of cache/models--OWNER--NAME/snapshots/COMMIT."""
    return snapshot.parent.parent.name.removeprefix("models--").replace("--", "/", 1)


def _existing(place: Path) -> Path:
    return next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())


def _version(package: str) -> str:
    if package == "echoreel" and (module := sys.modules.get("echoreel")):
        return str(module.__version__)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
