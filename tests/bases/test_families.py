"""Every family from the command line, as a user has it: saved bases and their names, nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.contract_calls import PROMPT
from helpers.make_videos import counting, film
from helpers.toy_bases import TOYS, call_of
from helpers.toy_models import FRAMES, toy_adapter
from helpers.toy_transformers import shorten
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from echoreel.bases import loading
from echoreel.bases.loading import load_base, load_parts
from echoreel.bases.lookup import base_of
from echoreel.cli import app
from echoreel.common.errors import AdapterMismatch, EchoReelError
from echoreel.generation import generate, model_facts
from echoreel.method.adapter import ActionAdapter
from echoreel.training import load_frozen
from echoreel.training.pair_cache import PairSetWriter
from echoreel.training.run_folder import RunFolder

RECIPE = """
[task]
batch = 2
held_back = 2
validation_levels = [0.5, 0.95]
sheet_pairs = 1
sheet_steps = 1
[fit]
steps = 8
learning_rate = 2e-2
warmup = 0
ema = 0.0
validate_every = 8
checkpoint_every = 8
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line in a folder with a reference and a picture."""
    film(tmp_path / "cartwheel.mp4", counting(20), fps=10)
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(tmp_path / "first.png")
    monkeypatch.chdir(tmp_path)
    for module in (loading, model_facts, load_frozen, generate):
        monkeypatch.setattr(module, "load_base", lambda *a, **options: shorten(load_base(*a, **options)))
    monkeypatch.setattr(load_frozen, "load_parts", lambda *a, **options: shorten(load_parts(*a, **options)))

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    return run


def write_pairs(folder: Path) -> None:
    """Clips of one colour, which an adapter learns soon."""
    clips = 1 + 0.1 * np.random.default_rng(0).normal(size=(8, 2, 4, FRAMES, 8, 8))
    halves = clips.astype(np.float16)
    PairSetWriter(folder).write(0, halves[:, 0], halves[:, 1:], [[PROMPT, PROMPT]] * 8)


def fresh(pipe: Any) -> ActionAdapter:
    """A small one that adds nothing yet."""
    adapter = toy_adapter(pipe)
    for integration in adapter.integrations.values():
        torch.nn.init.zeros_(integration.feed.out.weight)
    return adapter


@pytest.mark.parametrize("name", TOYS)
def test_from_a_base_to_a_trained_adapter_to_a_video(call: Any, tmp_path: Path, name: str) -> None:
    pipe = TOYS[name]()
    base, sizes = base_of(pipe), call_of(pipe)
    pipe.save_pretrained("base")
    write_pairs(tmp_path / "pairs")
    fresh(pipe).save_pretrained("start")
    places = 'folder = "run"\nbase = "base"\npairs = "pairs"\nstart = "start"\n'
    (tmp_path / "recipe.toml").write_text(places + RECIPE)
    sheet = ["--set", "fit.sheet_every=8"] if base.needs_image else []

    adapter = call("train", "recipe.toml", *sheet)["adapter"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation/right"] < 0.98 * lines[-1]["validation/none"]
    step = RunFolder(tmp_path / "run").latest()
    assert step is not None
    kept = {key for file in step.glob("*.safetensors") for key in load_file(file)}
    assert kept == {key for key, _ in ActionAdapter.from_pretrained(adapter).state_dict().items()}

    told = call("info", "base", "--adapter", adapter)
    assert told["family"] == base.name
    assert told["options"]["image"] == base.needs_image
    assert told["memory"]["whole"] >= told["memory"]["offload_model"] > 0
    assert 0 < told["adapter"]["sites"] <= len(told["sites"])

    size = f"{sizes['width']}x{sizes['height']}"
    image = ["--image", "first.png"] if base.needs_image else []
    asked = ["--steps", "2", "--frames", str(sizes["num_frames"]), "--size", size, "--dtype", "float32"]
    made = call(
        *("generate", PROMPT, "-r", "cartwheel.mp4", "--base", "base", "--adapter", adapter),
        *("--offload", "layers", "-o", "out.mp4", *asked, *image),
    )
    assert made["settings"]["num_frames"] == sizes["num_frames"]
    assert made["fps"] == base.fps
    assert made["image"] == ("first.png" if image else None)


def test_an_adapter_of_another_family_is_one_sentence() -> None:
    adapter = ActionAdapter.for_base(TOYS["Wan 2.1"]())
    with pytest.raises(AdapterMismatch, match="got a base of the family LTX-Video, need Wan; load or train"):
        adapter.attach(TOYS["LTX"]())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "Kandinsky 5 I2V",
            {"settings": {"num_frames": 16}, "image": np.zeros((32, 32, 3), np.uint8)},
            "got 16 frames, need 17 or more for Kandinsky5I2VPipeline",
        ),
        ("Wan 2.1 I2V", {}, "needs a first frame; give --image FILE, in Python image=FILE"),
        ("Wan 2.1", {"image": np.zeros((32, 32, 3), np.uint8)}, "from text alone; leave the image out"),
        ("Wan 2.1 I2V", {"image": "no.png"}, "no.png: there is no such file"),
        ("SVD", {"settings": {"negative_prompt": "blue"}}, "takes no negative_prompt"),
        ("AnimateDiff", {"settings": {"num_frames": 64}}, "got 64 frames, need 32 or fewer"),
    ],
)
def test_what_a_base_does_not_take(name: str, options: dict[str, Any], message: str) -> None:
    settings = generate.GenerationSettings(**options.pop("settings", {}))
    with pytest.raises(EchoReelError, match=message):
        generate.generate(PROMPT, base=TOYS[name](), settings=settings, **options)


def test_lora_and_offload_from_the_command_line(tmp_path: Path) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = TOYS["AnimateDiff"]()
    pipe.save_pretrained(tmp_path / "base")
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    pipe.save_lora_weights(tmp_path / "lora", unet_lora_layers=get_peft_model_state_dict(pipe.unet))
    TOYS["ModelScope"]().save_pretrained(tmp_path / "other")
    for arguments, message in (
        (["--lora", str(tmp_path / "lora")], ""),
        (["--lora", str(tmp_path / "lora" / "x.bin")], "need a .safetensors file"),
        (["--base", str(tmp_path / "other"), "--lora", "x"], "a UNet3DConditionModel cannot use LoRAs"),
        (["--offload", "model"], "needs a GPU, and this machine has none"),
        (["--offload", "all"], "got all, need model or layers"),
        (["--dtype", "int8"], "got int8, need float32, bfloat16 or float16"),
        (["--size", "big"], "got big, need width x height"),
    ):
        base = [] if "--base" in arguments else ["--base", str(tmp_path / "base")]
        options = ["--steps", "1", "--frames", "4", "-o", str(tmp_path / "out.mp4")]
        done = CliRunner().invoke(app, ["generate", PROMPT, *base, *options, *arguments])
        assert (done.exit_code, message in done.stderr) == (2 if message else 0, True), done.stderr


def test_a_lora_goes_into_the_denoiser_that_it_is_for(tmp_path: Path) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = TOYS["Wan 2.2"]()
    pipe.save_pretrained(tmp_path / "base")
    for name, part in (("high", pipe.transformer), ("low", pipe.transformer_2)):
        part.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
        pipe.save_lora_weights(tmp_path / name, transformer_lora_layers=get_peft_model_state_dict(part))
    high, low = tmp_path / "high", tmp_path / "low"
    loaded: Any = load_base(tmp_path / "base", loras=[f"transformer={high}", f"transformer_2={low}"])
    for made, saved in ((loaded.transformer, pipe.transformer), (loaded.transformer_2, pipe.transformer_2)):
        (name,) = made.peft_config
        got = get_peft_model_state_dict(made, adapter_name=name)
        want = get_peft_model_state_dict(saved)
        assert got.keys() == want.keys()
        assert all(torch.equal(got[key], want[key]) for key in want)
        assert name in made.active_adapters()
    with pytest.raises(
        EchoReelError, match=r"has 2 denoisers, .* which one it is for: transformer=.*high or trans"
    ):
        load_base(tmp_path / "base", loras=[high])
