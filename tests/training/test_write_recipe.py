"""A recipe that EchoReel writes for a base names every key, and trains as it is."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from helpers.make_videos import counting, film
from helpers.places import RECIPES
from helpers.toy_bases import CALLS, TOYS
from typer.testing import CliRunner

from echoreel.bases.known_bases import KNOWN
from echoreel.bases.sketch import parameters, sketched
from echoreel.cli import app
from echoreel.common.errors import BaseUnsupported, SettingsError
from echoreel.common.settings import load_settings, validated
from echoreel.method.networks import preset_sizes
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.clip_shape import ClipShape, buckets_around, clip_shape
from echoreel.training.evaluation_settings import HeldoutSettings
from echoreel.training.fit_settings import FitSettings
from echoreel.training.train_adapter import AdapterRecipe
from echoreel.training.write_recipe import TEMPLATE, recipe_for

PUBLISHED = {  # millions of parameters of the denoiser, and the shape of a training clip
    "wan-1.3b": (1419, ClipShape(33, 16.0, 240, 416)),
    "wan-14b": (14288, ClipShape(33, 16.0, 240, 416)),
    "ltx": (1923, ClipShape(49, 25.0, 256, 352)),
    "cogvideox-2b": (1694, ClipShape(17, 8.0, 480, 720)),
    "kandinsky5-lite": (2008, ClipShape(49, 24.0, 256, 384)),
    "mochi": (10028, ClipShape(19, 30.0, 480, 848)),
    "sana-video": (2057, ClipShape(33, 16.0, 240, 416)),
    "animatediff": (1313, ClipShape(16, 8.0, 512, 512)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_bases_are_known_without_any_download(name: str) -> None:
    base, source = sketched(name)
    assert (round(parameters(base.denoiser) / 1e6), clip_shape(base)) == PUBLISHED[name]
    assert sketched(source)[0].name == base.name
    text = re.sub(r"^# (prism|integration) =", r"\1 =", recipe_for(base), flags=re.MULTILINE)
    sized = validated(AdapterRecipe, tomllib.loads(text))
    assert (sized.prism, sized.integration) == preset_sizes(base)
    settings = validated(AdapterRecipe, tomllib.loads(recipe_for(base)))
    assert (settings.base, settings.task.gradient_checkpointing) == (source, True)


def test_the_recipe_in_the_repository_is_what_the_command_writes() -> None:
    done = CliRunner().invoke(app, ["recipe", "wan-1.3b"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (RECIPES / "wan-1.3b.toml").read_text()
    load_settings(RECIPES / "wan-1.3b.toml", AdapterRecipe)


def test_a_recipe_tells_every_key_and_its_default() -> None:
    told = re.sub(r"^# (\w+ = )", r"\1", TEMPLATE, flags=re.MULTILINE)
    values = dict.fromkeys(re.findall(r"{(\w+)(?::\S+)?}", told), "1")
    data = tomllib.loads(re.sub(r"{(\w+)(?::\S+)?}", lambda found: values[found[1]], told))
    assert data.keys() == AdapterRecipe.model_fields.keys()
    assert data["task"].keys() == AdapterTaskSettings.model_fields.keys()
    assert data["fit"].keys() == FitSettings.model_fields.keys()
    assert data["evaluation"].keys() == HeldoutSettings.model_fields.keys()
    for table, cls in (("task", AdapterTaskSettings), ("fit", FitSettings), ("evaluation", HeldoutSettings)):
        for name in re.findall(r"^# (\w+) = ", TEMPLATE.split(f"[{table}]")[1].split("\n[")[0], re.MULTILINE):
            default, stored = cls.model_fields[name].default, data[table][name]
            assert default is None or stored == (list(default) if isinstance(default, tuple) else default)


@pytest.mark.parametrize("toy", ["AnimateDiff", "Wan 2.1", "Wan 2.2", "LTX", "CogVideoX", "LVDM"])
def test_a_folder_is_sketched_as_it_is_loaded(toy: str, tmp_path: Path) -> None:
    pipe = TOYS[toy]()
    pipe.save_pretrained(tmp_path / "base")
    base, name = sketched(str(tmp_path / "base"))
    assert name == str(tmp_path / "base")
    assert parameters(base.denoiser) == parameters(getattr(pipe, base.component))
    assert base.pixels_per_place == type(base)(base.denoiser, pipe).pixels_per_place
    assert len(base.denoisers) == (2 if toy == "Wan 2.2" else 1)
    if toy != "LVDM":  # whose classes are ours
        assert base.denoiser.device.type == "meta"


def test_a_written_recipe_trains_with_what_its_header_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands 2 and 3 of the header, on a toy Wan."""
    monkeypatch.chdir(tmp_path)
    TOYS["Wan 2.1"]().save_pretrained("toy-wan")
    call = CALLS["WanPipeline"]
    recommended = {"num_frames": call["num_frames"], "height": 64, "width": 64, "fps": 8}
    Path("toy-wan/generation.json").write_text(json.dumps(recommended))
    (tmp_path / "videos").mkdir()
    for name in "ab":
        film(tmp_path / "videos" / f"{name}.mp4", counting(24), fps=8)
    pair = {"target": "a.mp4", "caption": "a man dancing", "references": [{"path": "b.mp4"}]}
    Path("videos/train.jsonl").write_text(4 * f"{json.dumps(pair)}\n")
    done = CliRunner().invoke(app, ["recipe", "toy-wan"])
    assert done.exit_code == 0
    Path("my.toml").write_text(done.stdout)
    told = re.search(r"# 2\. echoreel (.*) \\\n#( .*)", done.stdout)
    assert told is not None
    train = "train my.toml --set fit.steps=1 --set task.held_back=2 --set fit.precision=fp32"
    goes_on = f"{train} --init runs/toy-wan/adapter --set folder=runs/second"
    for command in (told[1] + told[2], train, goes_on):
        done = CliRunner().invoke(app, command.split())
        assert done.exit_code == 0, done.stderr
    assert Path("runs/toy-wan/adapter/config.json").is_file()
    assert json.loads(Path("runs/second/recipe.json").read_text())["start"] == "runs/toy-wan/adapter"


def test_what_is_no_base_is_refused_with_the_names_that_are_known() -> None:
    with pytest.raises(BaseUnsupported, match=r"no such folder.*or one of wan-1\.3b, wan-14b"):
        sketched("wan-2b")
    assert all(name in CliRunner().invoke(app, ["recipe", "--help"]).stdout for name in ("wan-1.3b", "ltx"))
    assert len(KNOWN) == 12


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"sample_size": "x"}, "says a frame size that cannot be"),
        ({"sample_size": -4}, "says a frame size that cannot be"),
        ({"sample_size": 10**9}, "says a frame size that cannot be"),
        ({"patch_size": 0}, "patch_size of 0, need 1 or more"),
    ],
)
def test_a_base_of_sizes_that_cannot_be_is_told(told: dict[str, object], why: str, tmp_path: Path) -> None:
    TOYS["AnimateDiff"]().save_pretrained(tmp_path)
    config = tmp_path / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | told))
    with pytest.raises(SettingsError, match=why):
        buckets_around(sketched(str(tmp_path))[0], clip_shape(sketched(str(tmp_path))[0]))
