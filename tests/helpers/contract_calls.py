"""What the tests of the contract share: calls of bases. The fixtures are in shared_fixtures.py."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from echoreel.bases.lookup import base_of
from helpers.toy_bases import ONE_IMAGE, call_of
from helpers.toy_models import toy_adapter, toy_inputs, toy_tokens

PROMPT = "a man doing a cartwheel"

only_animatediff = pytest.mark.parametrize("pipe", ["AnimateDiff"], indirect=True)
"""For what other bases do not offer: FreeNoise, its names of modules."""


def predict(pipe: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """One call of the bare denoiser; image-to-video ones are told of a first frame, the same in each row."""
    base = base_of(pipe)
    generator = torch.Generator().manual_seed(9)
    clean = torch.randn(inputs[0][:1].shape, generator=generator).expand_as(inputs[0])
    with torch.no_grad():
        condition = base.condition(clean)
    return base.predict(base.denoiser, *inputs, condition)


@torch.no_grad()
def film(
    pipe: Any, seeds: tuple[int, ...] = (0,), prompt: str | list[str] = PROMPT, **options: Any
) -> Tensor:
    """Latents of videos, one generator each, by the pipeline's own call."""
    base = base_of(pipe)
    torch.manual_seed(0)  # I2VGen-XL draws the image's latents without the generator
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    arguments: dict[str, Any] = {
        "prompt": prompt,
        "num_inference_steps": 2,
        "generator": generators[0] if len(generators) == 1 else generators,
        "output_type": "latent",
    }
    arguments |= call_of(pipe)
    if base.needs_image:
        picture = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
        alone = isinstance(prompt, str) or base.name in ONE_IMAGE
        arguments["image"] = picture if alone else [picture] * len(prompt)
    arguments = base.call_arguments(arguments | options)
    accepted = inspect.signature(type(pipe).__call__).parameters
    made = pipe(**{name: value for name, value in arguments.items() if name in accepted}).frames
    assert isinstance(made, Tensor)
    return made


def stays_one_graph(pipe: Any) -> None:
    """The compiled denoiser is one graph, predicts the same, and is not compiled anew for others."""
    torch._dynamo.reset()
    adapter, base, inputs = toy_adapter(pipe).attach(pipe), base_of(pipe), toy_inputs(2)
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(base.denoiser, backend=backend, fullgraph=True)
    with torch.no_grad():
        condition = base.condition(inputs[0])
        for step in range(4):
            adapter.set_tokens(toy_tokens(adapter, seed=step % 2))
            adapter.set_scale(1 - 0.1 * step)
            want = base.predict(base.denoiser, *inputs, condition)
            assert_close(base.predict(compiled, *inputs, condition), want)
    assert len(graphs) == 1
