"""The built pack: it needs nothing of diffusers and echoreel, and is whole."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from helpers.damage import flipped
from helpers.places import ROOT
from helpers.toy_transformers import toy_wan
from safetensors.torch import load, save

import echoreel
from comfyui.adapters import load_adapter
from comfyui.build import build
from echoreel.common.errors import AdapterMismatch
from echoreel.method.adapter import ActionAdapter

COMFYUI = ROOT / "comfyui"
SOURCE = "".join(path.read_text() for path in sorted(COMFYUI.glob("*.py")) if path.name != "build.py")
NODES = re.findall(r'node_id="(\w+)"', SOURCE)

ALONE = """
import sys
sys.modules["diffusers"] = sys.modules["echoreel"] = None
from pathlib import Path
import torch
from pack.echoreel import action, adapters, joining, references
adapter = adapters.load_adapter(Path("adapter"))
latents, texts = torch.load("given.pt")
tokens = adapter.tokens([(latents, texts[:1], 1.0)], [texts[1:]])
torch.testing.assert_close(tokens.tokens, torch.load("wanted.pt"))
taken = references.take(torch.rand(20, 32, 32, 3), 10.0, 0.5, 1.0, 8.0, False)
assert len(taken.frames) == 8
from pack.echoreel.core.media import reference_file
reference_file.write_reference(Path("a.safetensors"), taken)
assert (reference_file.read_reference(Path("a.safetensors")).frames == taken.frames).all()
loaded = {name for name in sys.modules if sys.modules[name]}
assert not {"diffusers", "echoreel", "transformers", "av"} & loaded
"""


def test_the_built_pack_works_where_diffusers_and_echoreel_are_not(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    build(tmp_path / "pack")
    adapter = ActionAdapter.for_base(toy_wan())
    adapter.save_pretrained(tmp_path / "adapter")
    latents, texts = torch.randn(1, 4, 3, 4, 4), torch.randn(2, 5, 16)
    torch.save((latents, texts), tmp_path / "given.pt")
    with torch.no_grad():
        torch.save(adapter.encode(latents, texts[:1], texts[1:]), tmp_path / "wanted.pt")
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_in_the_built_pack_asks_for_echoreel(tmp_path: Path) -> None:
    target = build(tmp_path)
    for path in target.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (echoreel|diffusers)", path.read_text(), re.MULTILINE), path
    names = {path.name for path in target.iterdir()}
    assert {"LICENSE", "NOTICE", "README.md", "icon.png", "pyproject.toml", "core", "web"} <= names
    assert sum(path.stat().st_size for path in target.rglob("*.py")) < 200_000
    (target / "old.py").write_text("")
    build(tmp_path)  # in place of the older one
    assert not (target / "old.py").exists()
    (tmp_path / "taken" / "echoreel").mkdir(parents=True)
    with pytest.raises(ValueError, match="is no pack of ours"):
        build(tmp_path / "taken")


def test_every_node_is_told_of() -> None:
    assert len(NODES) == 8
    assert all(name.startswith("EchoReel") for name in NODES)
    assert {path.stem for path in (COMFYUI / "web/docs").glob("*.md")} == set(NODES)
    assert not re.search(r"(?<!\.)\b(eval|exec)\(|\bpip\b|subprocess", SOURCE)


def checked(path: Path, *more: str) -> tuple[int, str]:
    script = ROOT / "scripts/comfyui/check_publish.py"
    done = subprocess.run([sys.executable, str(script), str(path), *more], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_the_registry_gets_what_it_asks_for_and_nobody_publishes_without_an_account(tmp_path: Path) -> None:
    path = build(tmp_path) / "pyproject.toml"
    assert checked(path) == (0, "")
    assert tomllib.loads(path.read_text())["project"]["version"] == echoreel.__version__
    code, told = checked(path, "publish")
    assert code == 1
    assert "PublisherId is missing" in told
    assert "Repository is missing" in told
    whole = path.read_text().replace(
        "[tool.comfy]", '[project.urls]\nRepository = "https://example.org/a/b"\n[tool.comfy]'
    )
    path.write_text(whole + 'PublisherId = "somebody"\n')
    assert checked(path, "publish") == (0, "")


def test_each_fault_of_the_pack_s_pyproject_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "ComfyUI-x"\nversion = "1"\nlicense = "MIT"\ndependencies = ["torch"]\n'
        '[tool.comfy]\nPublisherID = "a"\nIcon = "icon.png"\n'
    )
    code, told = checked(tmp_path / "pyproject.toml")
    assert code == 1
    words = "name is|version is|license is|description|requires-python|operating system|dependencies is not"
    for word in (*words.split("|"), "has PublisherID, which", "DisplayName", "requires-comfyui", "Icon is"):
        assert word in told
    (tmp_path / "pyproject.toml").write_text("[project")
    assert "cannot be read" in checked(tmp_path / "pyproject.toml")[1]


@pytest.mark.parametrize("path", sorted((COMFYUI / "example_workflows").glob("*.json")), ids=lambda p: p.stem)
def test_example_workflows_have_pictures_and_no_unknown_node_of_ours(path: Path) -> None:
    flow = json.loads(path.read_text())
    ours = {node["type"] for node in flow["nodes"] if node["type"].startswith("EchoReel")}
    assert ours
    assert ours <= set(NODES)
    assert path.with_suffix(".jpg").is_file()


def test_a_folder_that_is_no_adapter_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdapterMismatch, match=r"config\.json cannot be read"):
        load_adapter(tmp_path)
    ActionAdapter.for_base(toy_wan()).save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:100], whole[:-4], b""):
        weights.write_bytes(damaged)
        with pytest.raises(AdapterMismatch, match=r"not an adapter of EchoReel|its weights are damaged"):
            load_adapter(tmp_path)
    weights.write_bytes(flipped(whole))
    with pytest.raises(AdapterMismatch, match=r": its weights are damaged: .* is not as it was written"):
        load_adapter(tmp_path)
    state = load(whole)
    next(iter(state.values())).view(-1)[0] = float("nan")
    weights.write_bytes(save(state))
    with pytest.raises(AdapterMismatch, match="NaN or infinite"):
        load_adapter(tmp_path)
    weights.write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong in ({**config, "sites": 3}, {**config, "prism_config": {"kind": "x"}}, {}, []):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(AdapterMismatch, match="not an adapter of EchoReel"):
            load_adapter(tmp_path)
