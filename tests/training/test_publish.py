"""From a finished run to a folder that others load, with a card that says what was done and if it works."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.damage import flipped
from helpers.make_videos import counting, film
from helpers.toy_models import toy_pipeline
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from echoreel.bases.encoding import weights_of
from echoreel.cli import app
from echoreel.common.errors import EchoReelError, SettingsError
from echoreel.common.settings import validated
from echoreel.media.video_files import probe
from echoreel.method import published
from echoreel.method.loading import load_adapter
from echoreel.training.evaluated import MEASURES
from echoreel.training.pair_cache import PairSetWriter
from echoreel.training.publish import model_card, publish, push
from echoreel.training.run_facts import TrainingFacts, published_facts
from echoreel.training.train_adapter import AdapterRecipe, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two steps, finished; the base and the pairs lie beside."""
    folder = tmp_path_factory.mktemp("published")
    toy_pipeline().save_pretrained(folder / "toy-base")
    latents = torch.randn(8, 2, 4, 4, 8, 8).half().numpy()
    captions = [["a man dancing", "a woman dancing"]] * 8
    PairSetWriter(folder / "pairs").write(0, latents[:, 0], latents[:, 1:], captions)
    places = {"folder": folder / "run", "base": str(folder / "toy-base"), "pairs": folder / "pairs"}
    places["evaluation"] = {"clip": str(folder / "clip")}
    fit = {"steps": 2, "validate_every": 2}
    train(validated(AdapterRecipe, {**places, "task": {"batch": 2, "held_back": 4}, "fit": fit}))
    film(folder / "out.mp4", counting(20), fps=8)
    return folder / "run"


def test_a_run_becomes_a_folder_that_generate_and_info_take(run: Path, tmp_path: Path) -> None:
    to, base = str(tmp_path / "shared"), str(run.parent / "toy-base")
    options = ["--license", "apache-2.0", "--data", "toy clips, CC0", "--sample", str(run.parent / "out.mp4")]
    done = CliRunner().invoke(app, ["publish", str(run), "My adapter", "--to", to, *options])
    assert (done.exit_code, done.stderr) == (0, "")
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "echoreel")
    for told in ("# My adapter", "toy clips, CC0", "8, each with 1 references", "2, 0.0 hours", "![01-out]"):
        assert told in card.content
    assert str(run.parent) not in card.content + (tmp_path / "shared" / "training.json").read_text()
    assert probe(tmp_path / "shared" / "samples" / "01-out.gif").height == 48
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"| {last['validation/right']:.4g} | {last['validation/shuffled']:.4g} |" in card.content
    assert ("It was not evaluated" in card.content, "no evaluation of these" in done.stdout) == (True, True)
    done = CliRunner().invoke(app, ["info", base, "--adapter", to])
    assert "trained     My adapter: 2 steps on 8 pairs for toy-base; data: toy clips, CC0" in done.stdout
    own = CliRunner().invoke(app, ["info", base, "--adapter", str(run / "adapter")])
    assert "trained     run: 2 steps on 8 pairs for toy-base; data: not told; licence: not told" in own.stdout
    arguments = ["a man dancing", "-r", str(run.parent / "out.mp4"), "--base", base, "--steps", "1"]
    made = CliRunner().invoke(app, ["generate", *arguments, "--adapter", to, "-o", str(tmp_path / "a.gif")])
    assert made.exit_code == 0, made.stderr
    again = CliRunner().invoke(app, ["publish", str(run), "My adapter", "--to", to, *options])
    assert again.exit_code == 0  # only what it wrote itself is replaced
    recipe = json.loads((run / "recipe.json").read_text())
    gone = recipe | {"base": "/home/me/gone", "base_parts": "/home/me/parts"}
    (run / "recipe.json").write_text(json.dumps(gone))
    publish(run, "mine", "mit", tmp_path / "moved")
    (run / "recipe.json").write_text(json.dumps(recipe))
    told = "".join((tmp_path / "moved" / name).read_text() for name in ("README.md", "training.json"))
    assert "/home/me" not in told
    (tmp_path / "shared" / "mine.txt").write_text("mine")
    again = CliRunner().invoke(app, ["publish", str(run), "My adapter", "--to", to, *options])
    assert again.exit_code == 2
    assert (tmp_path / "shared" / "mine.txt").exists()


def test_a_card_shows_an_evaluation_of_these_weights_alone(run: Path, tmp_path: Path) -> None:
    mean, none = {"mean": 0.5, "low": 0.25, "high": 0.75}, dict.fromkeys(("mean", "low", "high"))
    row = dict.fromkeys(MEASURES, mean) | {"condition": "ours", "references": 1, "n": 4, "leakage": none}
    name = weights_of(load_adapter(run / "adapter"))
    for adapter, shown in ((name, True), ("of another", False)):
        told = {
            "rows": [row],
            "actions": ["a|b", "c"],
            "weights": {"adapter": adapter},
            "models": {"clip": str(run)},
        }
        (run / "evaluation").mkdir(exist_ok=True)
        (run / "evaluation/report.json").write_text(json.dumps(told))
        publish(run, "a", "mit", tmp_path / adapter)
        card = (tmp_path / adapter / "README.md").read_text()
        assert ("Videos of 2 actions that were held out of training (a&#124;b, c)" in card) == shown
        assert ("| text alignment |\n" in card) == shown
        assert ("| ours | 1 | 4 | 0.500 [0.250, 0.750] |" in card) == shown
        assert published_facts(tmp_path / adapter) is not None
        assert str(run) not in (tmp_path / adapter / "training.json").read_text()
    (run / "evaluation/report.json").write_text("{}")
    with pytest.raises(EchoReelError, match=r"report\.json is damaged, or of another program; move it away"):
        publish(run, "a", "mit", tmp_path / "out")
    shutil.rmtree(run / "evaluation")


def test_what_cannot_be_published_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(EchoReelError, match=r"has no adapter/config\.json; give the folder of a finished"):
        publish(tmp_path, "a", "mit", tmp_path / "out")
    with pytest.raises(EchoReelError, match="the licence is empty"):
        publish(run, "a", " ", tmp_path / "out")
    shutil.copytree(run, tmp_path / "run")
    weights = tmp_path / "run" / "adapter" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(flipped(weights.read_bytes()))
    with pytest.raises(EchoReelError, match="adapter: its weights are damaged: diff"):
        publish(tmp_path / "run", "a", "mit", tmp_path / "out")
    with pytest.raises(EchoReelError, match="lies in the run's folder"):
        publish(run, "a", "mit", run / "adapter")
    done = CliRunner().invoke(app, ["publish", str(run), "a", "--to", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_an_upload_that_fails_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("card")
    with pytest.raises(EchoReelError, match=r"not a hub id!: not uploaded .* can be uploaded again"):
        push(tmp_path, "not a hub id!", private=True)


def test_a_card_says_when_references_are_not_used() -> None:
    facts = TrainingFacts(name="a", base="b/c", license="mit", steps=1, hours=0)
    assert "No validation was made." in model_card(facts)
    good = {"right": 1.0, "shuffled": 2.0, "none": 3.0}
    assert "the adapter uses its references" in model_card(facts.model_copy(update={"validation": good}))
    bad = good | {"right": 2.5}
    assert "do not expect references to act" in model_card(facts.model_copy(update={"validation": bad}))


def test_without_an_adapter_generate_says_how_to_get_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(run.parent / "toy-base")
    arguments = ["generate", "a man", "-r", str(run.parent / "out.mp4"), "--base", base]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "a.gif")])
    assert done.exit_code == 2
    assert (
        f"no adapter is published yet for {base}; train one: echoreel recipe {base} > my.toml" in done.stderr
    )
    assert "published   no adapter is published yet" in CliRunner().invoke(app, ["info", base]).stdout
    monkeypatch.setattr(
        published,
        "published_adapters",
        lambda name: [published.PublishedAdapter(base=name, adapter="x/y", license="mit")],
    )
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "a.gif")])
    assert "x/y; give one with --adapter" in done.stderr


def test_the_list_of_published_adapters_is_whole() -> None:
    assert all("/" in each.adapter for each in published.published_adapters())
    assert published.published_adapters("wan-1.3b") == []


@pytest.mark.parametrize("field", ["name", "license", "data"])
def test_what_is_no_text_is_told_before_anything_is_written(run: Path, tmp_path: Path, field: str) -> None:
    told = {"name": "mine", "license": "mit", "data": "clips"} | {field: "m\udcff"}
    with pytest.raises(SettingsError, match=f"{field}: character 2 is not text"):
        publish(run, to=tmp_path / "shared", **told)
    assert not (tmp_path / "shared").exists()
