"""A frozen base in little memory: no text encoders, weights in fewer bits, blocks that come and go."""

from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_bases import TOYS, call_of
from helpers.toy_models import FRAMES
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from echoreel.bases.base import Base
from echoreel.bases.encoding import CaptionTokens
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.bases.quantize import Quantize
from echoreel.bases.sketch import only_autoencoder
from echoreel.common.errors import BaseUnsupported, CheckpointError, MissingExtra, SettingsError
from echoreel.common.randomness import seeded
from echoreel.common.settings import validated
from echoreel.method.adapter import ActionAdapter
from echoreel.training import caption_store, held_blocks, load_frozen
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.adapter_task import AdapterTask
from echoreel.training.autoencoder_probe import probe_of
from echoreel.training.caption_store import CaptionStore, encode_ahead
from echoreel.training.clip_shape import clip_shape
from echoreel.training.load_frozen import FrozenWeights
from echoreel.training.loop import fit
from echoreel.training.pair_cache import PairSet, PairSetWriter
from echoreel.training.run_folder import load_trained
from echoreel.training.train_adapter import AdapterRecipe, adapter_to_train, train

CAPTIONS = ["", "a man dancing", "a woman jumping over a wall"]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A toy Wan, and pairs of it."""
    TOYS["Wan 2.1"]().save_pretrained(tmp_path / "base")
    clips = np.random.default_rng(0).normal(size=(8, 2, 4, FRAMES, 8, 8)).astype(np.float16)
    PairSetWriter(tmp_path / "pairs").write(0, clips[:, 0], clips[:, 1:], [CAPTIONS[1:]] * 8)
    return tmp_path


def recipe(world: Path, **more: Any) -> AdapterRecipe:
    task = {"batch": 2, "held_back": 2, "gradient_checkpointing": True, "sheet_pairs": 1, "sheet_steps": 1}
    told = {"folder": world / "run", "base": str(world / "base"), "pairs": world / "pairs", "task": task}
    return validated(AdapterRecipe, told | {"fit": {"steps": 2, "warmup": 0}} | more)


@pytest.mark.parametrize(
    "toy", ["Wan 2.1", "LTX", "LTX-2", "CogVideoX", "HunyuanVideo 1.0", "AnimateDiff", "Latte"]
)
def test_captions_are_encoded_without_the_denoiser_as_with_it(toy: str, tmp_path: Path) -> None:
    pipe = TOYS[toy]()
    pipe.save_pretrained(tmp_path / "base")
    whole = CaptionTokens(load_base(tmp_path / "base"))(CAPTIONS)
    loaded = load_frozen.load_frozen(FrozenWeights(str(tmp_path / "base")), lambda: CAPTIONS, tmp_path)
    assert loaded.base.pipe.text_encoder is None
    assert loaded.stored is not None
    assert torch.equal(CaptionTokens(loaded.base, loaded.stored)(CAPTIONS), whole)


def test_a_training_without_text_encoders_is_the_one_with_them(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Base] = []
    usual = load_frozen._encoder

    def watched(*arguments: Any) -> Any:
        held.append(arguments[0])
        return usual(*arguments)

    monkeypatch.setattr(load_frozen, "_encoder", watched)
    settings = recipe(world, fit={"steps": 2, "warmup": 0, "sheet_every": 2})
    train(settings)
    assert (world / "run" / "sheets" / "step-000002.png").stat().st_size > 0
    train(settings.model_copy(update={"fit": settings.fit.model_copy(update={"steps": 3})}))
    assert len(held) == 1  # on resume the captions are there
    pipe = load_base(world / "base")
    adapter = adapter_to_train(pipe, None, "compact")
    fit(
        AdapterTask(adapter, pipe, PairSet.open(world / "pairs"), settings.task),
        settings.fit,
        tmp_path / "whole",
    )
    adapter.detach()
    load_trained(tmp_path / "whole", adapter)
    first = ActionAdapter.from_pretrained(world / "run" / "adapter")
    shorter = ActionAdapter.for_base(pipe)
    assert load_trained(world / "run", first) == 3
    (world / "run" / "step-000003" / "state.json").rename(world / "gone.json")
    for path in (world / "run" / "step-000003").iterdir():
        path.unlink()
    assert load_trained(world / "run", shorter) == 2
    for name, tensor in adapter.state_dict().items():
        assert torch.equal(shorter.state_dict()[name], tensor), name


@pytest.mark.parametrize("toy", [*TOYS])
def test_clips_are_encoded_by_the_autoencoder_alone(toy: str, tmp_path: Path) -> None:
    pipe = TOYS[toy]()
    pipe.save_pretrained(tmp_path / "base")
    alone = only_autoencoder(tmp_path / "base")
    assert probe_of(alone) == probe_of(pipe)
    assert clip_shape(alone, (64, 64)) == clip_shape(pipe, (64, 64))
    if alone.encodes_alone and not toy.startswith(("LVDM", "VideoCrafter")):
        assert "meta" in {p.device.type for p in alone.denoiser.parameters()}
        assert getattr(alone.pipe, alone.component) is None


def test_what_was_encoded_before_a_kill_is_not_encoded_again(tmp_path: Path) -> None:
    captions, asked = [f"caption {number}" for number in range(80)], list[str]()

    def encode(caption: str) -> Tensor:
        if len(asked) == 70:
            raise KeyboardInterrupt
        asked.append(caption)
        return torch.tensor([[float(caption.split()[1]), 0.1], [0.0, 0.0]])

    with pytest.raises(KeyboardInterrupt):
        encode_ahead(CaptionStore(tmp_path), captions, lambda: encode, 0, 1)
    done = asked[: 2 * caption_store.CHUNK]
    asked.clear()
    store = CaptionStore(tmp_path)
    encode_ahead(store, captions, lambda: encode, 0, 1)
    assert sorted(asked) == sorted({*captions} - {*done})
    assert torch.equal(store("caption 7"), torch.tensor([[7.0, 0.1], [0.0, 0.0]]))
    encode_ahead(store, captions, lambda: pytest.fail("nothing is missing"), 0, 1)
    next(tmp_path.glob("tokens-*")).write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"tokens-\w+\.safetensors is damaged, .*; move it"):
        CaptionStore(tmp_path)


@pytest.mark.parametrize(
    ("tokens", "length", "why"),
    [
        (torch.ones(2, 4), 10**12, "need"),
        (torch.ones(2, 4), -5, "need"),
        (torch.ones(2, 4), 1, "need"),
        (torch.ones(8), 8, "need"),
        (torch.tensor(1.0), 1, "need"),
        (torch.ones(2, 3), 2, "need"),
        (torch.ones(2, 4, dtype=torch.int64), 2, "need"),
        (torch.full((2, 4), np.nan), 2, "hold NaN"),
    ],
)
def test_captions_that_others_encoded_are_checked(
    tmp_path: Path, tokens: Tensor, length: int, why: str
) -> None:
    """As a run folder of somebody else may hold them."""
    CaptionStore(tmp_path).write({"a": torch.ones(2, 4)})
    (file,) = tmp_path.glob("tokens-*")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="not those that were written; move it"):
        CaptionStore(tmp_path, width=4)("a")
    save_file(dict.fromkeys(load_file(file), tokens), file, {"length": str(length)})
    with pytest.raises(CheckpointError, match=f"{why}.*; move it away and run the same command"):
        CaptionStore(tmp_path, width=4)("a")


def gradients(pipe: Any) -> list[Tensor]:
    """Of a fresh adapter's last layers, with every block checkpointed."""
    base = base_of(pipe)
    torch.manual_seed(0)
    adapter = ActionAdapter.for_base(base)
    task_settings = AdapterTaskSettings(batch=2, held_back=2, gradient_checkpointing=True)
    clips = torch.randn(8, 2, 4, FRAMES, 8, 8, generator=seeded(1)).half().numpy()
    folder = Path(pipe.config._name_or_path) / f"pairs-{len(list(Path(pipe.config._name_or_path).iterdir()))}"
    PairSetWriter(folder).write(0, clips[:, 0], clips[:, 1:], [CAPTIONS[1:]] * 8)
    task = AdapterTask(adapter, base, PairSet.open(folder), task_settings)
    adapter.train()
    for denoiser in base.denoisers:
        denoiser.train()
    task.loss(task.batch(0), seeded(0)).backward()
    return [p.grad for p in adapter.parameters() if p.grad is not None and p.grad.any()]


@pytest.fixture(params=["Wan 2.1", "LTX", "CogVideoX", "AnimateDiff", "ModelScope"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    TOYS[request.param]().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_blocks_that_come_and_go_give_the_same_gradients(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits in main memory is made useless here, so that nothing but what was fetched can be used."""
    want, pipe, true = gradients(load_base(folder)), load_base(folder), dict[int, Tensor]()

    def stored(_: Any, parameter: nn.Parameter) -> Tensor:
        kept = torch.full_like(parameter.data, float("nan"))
        true[id(kept)] = parameter.data.clone()
        return kept

    monkeypatch.setattr(held_blocks._Held, "stored", stored)
    monkeypatch.setattr(held_blocks._Held, "fetched", lambda _, kept, dtype: true[id(kept)].clone())
    held_blocks.hold_blocks(pipe, torch.device("cpu"), in_main_memory=True, as_fp8=False)
    denoiser = base_of(pipe).denoiser
    assert held_blocks.are_held(denoiser)
    found = gradients(pipe)
    assert len(found) == len(want) > 0
    for mine, theirs in zip(found, want, strict=True):
        torch.testing.assert_close(mine, theirs)
    waiting = [parameter.isnan().all() for parameter in denoiser.parameters()]
    assert sum(waiting) > 0.3 * len(waiting)  # also after the gradients


@pytest.mark.parametrize("kind", ["fp8-storage", "int8", "fp8"])
@pytest.mark.filterwarnings("ignore")
def test_a_base_in_fewer_bits_trains_an_adapter(folder: Path, kind: Quantize, tmp_path: Path) -> None:
    if kind != "fp8-storage":
        pytest.importorskip("torchao.quantization", reason="needs torchao")
    want = gradients(load_base(folder))
    weights = FrozenWeights(str(folder), quantize=kind)
    pipe = load_frozen.load_frozen(weights, lambda: [*CAPTIONS], tmp_path).base.pipe
    denoiser = base_of(pipe).denoiser
    few = {type(p).__name__ for p in denoiser.parameters()} | {str(p.dtype) for p in denoiser.parameters()}
    assert few & {"Int8Tensor", "Float8Tensor", "torch.float8_e4m3fn"}
    pipe.register_modules(text_encoder=load_base(folder).text_encoder)
    found = gradients(pipe)
    assert len(found) == len(want) > 0
    for mine, theirs in zip(found, want, strict=True):
        assert torch.cosine_similarity(mine.flatten(), theirs.flatten(), dim=0) > 0.95


@pytest.mark.parametrize("kind", ["fp8-storage", "int8"])
@pytest.mark.filterwarnings("ignore")
def test_a_base_in_fewer_bits_makes_nearly_the_same_video(world: Path, kind: str) -> None:
    if kind != "fp8-storage":
        pytest.importorskip("torchao.quantization", reason="needs torchao")
    made = []
    for quantize in (None, kind):
        pipe = load_base(world / "base", quantize=quantize)
        call = call_of(pipe) | {"generator": seeded(0), "output_type": "latent"}
        made.append(pipe("a man dancing", **call).frames)
    assert not torch.equal(*made)
    assert torch.cosine_similarity(*(each.flatten() for each in made), dim=0) > 0.99


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"quantize": "int8", "stream_base": True}, "quantize: int8 and stream_base do not go together"),
        ({"quantize": "fp8", "fit": {"steps": 1, "spread_base": True}}, "fp8 and spread_base do not go"),
        (
            {"stream_base": True, "fit": {"steps": 1, "spread_base": True}},
            "stream_base and spread_base do not",
        ),
        ({"quantize": "fp8-storage", "task": {}}, "fp8-storage needs gradient_checkpointing = true"),
        ({"stream_base": True, "task": {}}, "stream_base needs gradient_checkpointing = true"),
        ({"stream_base": True}, "stream_base needs a GPU"),
        ({"quantize": "int4"}, "quantize"),
    ],
)
def test_what_does_not_go_together_is_told_at_once(world: Path, more: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        train(recipe(world, **more))
    assert not (world / "run").exists()


def test_a_quantiser_that_cannot_work_here_is_told(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BaseUnsupported, match="quantize nf4 needs a GPU, and this machine has none; take int8"
    ):
        load_base(world / "base", quantize="nf4")
    with pytest.raises(SettingsError, match="quantize: got 'int3', need one of int8, fp8, nf4, fp8-storage"):
        load_base(world / "base", quantize="int3")
    monkeypatch.setitem(__import__("sys").modules, "torchao.quantization", None)
    with pytest.raises(MissingExtra, match=r"quantize int8 needs the package torchao.*echoreel\[quantize\]"):
        load_base(world / "base", quantize="int8")
    (world / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(SettingsError, match=r"a\.gguf is in fewer bits already"):
        load_base(world / "a.gguf", parts=world / "base", quantize="fp8-storage")


def test_processes_that_begin_at_different_times_encode_all_captions(tmp_path: Path) -> None:
    """Each takes its share of all captions: of those that are missing, a later one would see fewer."""
    captions, asked = [f"caption {number}" for number in range(200)], list[str]()

    def encode(caption: str) -> Tensor:
        asked.append(caption)
        if len(asked) == caption_store.CHUNK + 1:  # the first one has written some when the second begins
            processes[1].start()
        return torch.full((2, 4), float(caption.split()[1]))

    processes = [
        Thread(
            target=encode_ahead, args=(CaptionStore(tmp_path), captions, lambda: encode, rank, 2), daemon=True
        )
        for rank in range(2)
    ]
    processes[0].start()
    for process in processes:
        process.join(timeout=10)
    assert not any(process.is_alive() for process in processes)
    assert sorted(asked) == sorted(captions)
