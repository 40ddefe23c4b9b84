"""Which versions of other packages were tested: a newer one works, with one warning."""

import importlib.metadata
import warnings
from functools import cache

NEWEST_TESTED = {  # package -> the newest version that passes the tests, as far as it counts
    "torch": "2.13",
    "diffusers": "0.42",
    "transformers": "5",
    "lancedb": "0.40",
    "scenedetect-headless": "0.7",
    "gradio": "6",
    "peft": "0.21",
}


class UntestedVersion(UserWarning):
    """A package is newer than the newest version that EchoReel was tested with."""


@cache
def warn_if_untested(*packages: str) -> None:
    """Warn of each package that is newer than tested; once in a process for the same packages."""
    for package in packages:
        if said := untested(package):
            warnings.warn(said, UntestedVersion, stacklevel=3)


def untested(package: str) -> str:
    """A sentence if the installed version is newer than the newest tested one; else nothing."""
    if package not in NEWEST_TESTED:
        return ""
    try:
        installed = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
    tested = NEWEST_TESTED[package]
    if _numbers(installed)[: tested.count(".") + 1] <= _numbers(tested):
        return ""
    return (
        f"{package} {installed} is newer than {tested}, the newest that EchoReel was tested with; "
        f"if something fails, try pip install '{package}=={tested}.*'"
    )


def _numbers(version: str) -> tuple[int, ...]:
    """2.13.0+cpu -> (2, 13, 0); a part with letters ends it."""
    found = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
