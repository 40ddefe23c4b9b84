"""The shape of the package: imports point up the flow, public names are there, importing costs nothing."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import echoreel

PACKAGE = Path(echoreel.__file__).parent

FLOW = [
    name
    for layer in (
        "errors config",
        "pictures decode video references",
        "lexicon grammar actions embedding ranking",
        "captions clips catalogues downloads store rows adding picking",
        "known_actions library adding_ray",
        "actors actors.vocabulary actors.motions actors.takes actors.looks actors.render",
        "actors.domain actors.clips actors.cases actors.embedded",
        "layers backbones.family backbones.lvdm backbones.videocrafter backbones.videocrafter_image",
        "backbones.videocrafter_scheduler backbones.unets backbones.dits backbones.latte",
        "backbones.latent_pipeline backbones.lvdm_pipeline backbones.videocrafter_pipelines",
        "backbones.videocrafter_bases backbones",
        "latents prism integration hooks attachment recompute adapter originals convert convert_encoders",
        "result generation about encoded convert_files",
        "checkpoint feed runlog kernels train diffusion pairset prepare pairs tasks prism_task",
        "actors.wording actors.basetasks actors.sdedit actors.judges actors.judge_training actors.pretrain",
        "metrics report page studio evaluate sidecars video_motion video_features video_metrics",
        "answer cli.options cli.app cli.generate cli.library cli.training cli.models cli.prepare cli.measure",
        "cli __main__",
    )
    for name in layer.split()
]
"""Every module in the order in which data flows: each may import those before it. New ones are added here."""

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "numba", "av", "PIL", "numpy")


def modules() -> dict[str, Path]:
    """Name below `echoreel` -> file, without the package itself (whose public names point down the flow)."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del names[""]
    return names


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules of this package that a file imports, anywhere in it. A relative import fails the test."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names} - {"echoreel.__version__"}
            if not whole:
                continue
            inside = {name for name in whole if name.removeprefix("echoreel.") in known}
            found |= inside if inside else {str(node.module)}
    return {name.removeprefix("echoreel.") for name in found if name.split(".")[0] == "echoreel"}


def test_every_module_has_its_place_in_the_flow() -> None:
    assert sorted(FLOW) == sorted(set(FLOW))
    assert set(modules()) <= set(FLOW)


@pytest.mark.parametrize(("name", "path"), modules().items())
def test_imports_point_up_the_flow(name: str, path: Path) -> None:
    above = set(FLOW[: FLOW.index(name)])
    assert imported(path, set(modules())) - above == set()


@pytest.mark.parametrize("name", echoreel.__all__)
def test_public_names_resolve_and_stay_what_they_are(name: str) -> None:
    """Also after submodules were imported, which set attributes of the package."""
    first = getattr(echoreel, name)
    for module in modules():
        if module != "__main__":
            importlib.import_module(f"echoreel.{module}")
    assert getattr(echoreel, name) is first
    assert name in dir(echoreel)
    assert not isinstance(first, type(sys))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'ActionAdaptor'"):
        echoreel.ActionAdaptor  # noqa: B018


def loaded_by(code: str) -> set[str]:
    """Top-level packages in memory after `code` ran in a fresh interpreter."""
    report = f"{code}\nimport sys; print('\\n'.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import echoreel").isdisjoint({*HEAVY, "pydantic", "typer", "rich"})


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["echoreel", "--help"]
from echoreel.cli import main
try:
    main()
except SystemExit:
    pass
"""
    assert loaded_by(code).isdisjoint(HEAVY)
