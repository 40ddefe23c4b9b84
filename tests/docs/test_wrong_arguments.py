"""Each public function and method with one wrong argument raises an error that its docstring names."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.make_videos import counting, film
from helpers.toy_models import toy_adapter, toy_pipeline, toy_tokens

import echoreel
from echoreel.common import errors
from echoreel.common.errors import EchoReelError

NOTHING = Path("nothing.mp4")


class Good:
    """One good value of everything that a method is called on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipe = toy_pipeline()
        self.adapter = toy_adapter(self.pipe)
        self.tokens = toy_tokens(self.adapter)
        self.file = film(folder / "a.mp4", counting(16))
        self.reference = echoreel.ReferenceVideo.from_file(self.file)
        self.result = echoreel.generate(
            "a man", base=self.pipe, adapter=self.adapter, steps=1, num_frames=4, height=32, width=32
        )
        self.library = echoreel.ReferenceLibrary.open(folder / "library", create=True, embedder="none")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    return Good(tmp_path_factory.mktemp("good"))


WRONG: dict[str, Callable[[Good], object]] = {  # one argument is wrong, all others are right
    "ActionAdapter.attach": lambda g: g.adapter.attach(torch.nn.Linear(2, 2)),
    "ActionAdapter.check_fits": lambda g: g.adapter.check_fits(torch.nn.Linear(2, 2)),
    "ActionAdapter.check_tokens": lambda g: g.adapter.check_tokens([g.tokens[..., :1]]),
    "ActionAdapter.for_base": lambda g: echoreel.ActionAdapter.for_base(g.pipe, preset="none"),
    "ActionAdapter.from_pretrained": lambda g: echoreel.ActionAdapter.from_pretrained(g.folder),
    "ActionAdapter.reading": lambda g: g.adapter.reading(torch.nn.Linear(2, 2)).__enter__(),
    "ActionAdapter.reference_set": lambda g: g.adapter.attach(g.pipe).reference_set(
        [[g.reference]], ["a"], size=(0, 0)
    ),
    "ActionAdapter.save_pretrained": lambda g: g.adapter.save_pretrained(g.file),
    "ActionAdapter.set_guidance": lambda g: g.adapter.set_guidance("neither"),
    "ActionAdapter.set_references": lambda g: g.adapter.attach(g.pipe).set_references(
        g.reference, size=(0, 8)
    ),
    "ActionAdapter.set_scale": lambda g: g.adapter.set_scale(float("nan")),
    "ActionAdapter.set_tokens": lambda g: g.adapter.set_tokens(g.tokens[..., :1]),
    "ActionAdapter.set_window": lambda g: g.adapter.set_window(0.9, 0.1),
    "ActionAdapter.window_set": lambda g: g.adapter.attach(g.pipe).window_set([(0, 4)], [], "a"),
    "AdapterRecipe": lambda _: echoreel.AdapterRecipe(folder="run"),
    "GenerationResult.compare": lambda g: g.result.compare(g.folder / "a.txt"),
    "GenerationResult.compare_video": lambda g: g.result.compare_video(g.folder / "a.txt"),
    "GenerationResult.save": lambda g: g.result.save(g.folder / "a.txt"),
    "GenerationResult.save_comparison": lambda g: g.result.save_comparison(g.file / "below" / "a.mp4"),
    "GenerationResult.save_parts": lambda g: g.result.save_parts(g.file / "below", "a"),
    "GenerationSettings": lambda _: echoreel.GenerationSettings(step=3),
    "ReferenceLibrary.add": lambda g: g.library.add([NOTHING]),
    "ReferenceLibrary.export": lambda g: g.library.export(g.file, []),
    "ReferenceLibrary.open": lambda _: echoreel.ReferenceLibrary.open("no/library/here"),
    "ReferenceLibrary.search": lambda g: g.library.search("a man is running", count=0),
    "ReferenceLibrary.take": lambda g: g.library.take("a man is running", count=0),
    "ReferenceLibrary.pick": lambda g: g.library.pick("a man is running", count=0),
    "ReferenceLibrary.clips": lambda g: list(g.library.clips(count=-1)),
    "ReferenceLibrary.caption": lambda g: g.library.caption("no id", "a man is running"),
    "ReferenceLibrary.restore": lambda g: g.library.restore(["no id"]),
    "ReferenceLibrary.update": lambda g: g.library.update([NOTHING]),
    "ReferenceLibrary.remove": lambda g: g.library.remove(["no id"]),
    "ReferenceLibrary.show": lambda g: g.library.show("no id"),
    "ReferenceVideo": lambda _: echoreel.ReferenceVideo(np.zeros((4, 8, 8), np.uint8)),
    "ReferenceVideo.from_file": lambda g: echoreel.ReferenceVideo.from_file(g.file, start=-1),
    "ReferenceVideo.load": lambda g: echoreel.ReferenceVideo.load(g.file),
    "ReferenceVideo.save": lambda g: g.reference.save(g.folder / "a.txt"),
    "convert": lambda g: echoreel.convert(g.file, "none", g.folder / "out"),
    "generate": lambda _: echoreel.generate("a man", steps=0),
    "load_adapter": lambda _: echoreel.load_adapter("no/adapter/here"),
    "load_base": lambda _: echoreel.load_base("no/base/here"),
    "measure": lambda _: echoreel.measure([NOTHING]),
    "train": lambda _: echoreel.train("no-recipe.toml"),
}
NOTHING_IS_WRONG = {
    "ActionAdapter": "`for_base` makes it",
    "ActionAdapter.clear_references": "takes nothing",
    "ActionAdapter.detach": "takes nothing",
    "AdapterRecipe.weights": "takes nothing",
    "ActionAdapter.encode": "takes tensors, whose shapes are torch's business",
    "ActionAdapter.layers": "takes nothing",
    "EchoReelError": "takes any words",
    "GenerationResult": "`generate` makes it",
    "GenerationResult.details": "takes nothing",
    "GenerationResult.recipe": "takes nothing",
    "GenerationResult.summary": "takes nothing",
    "Measurement": "`measure` makes it",
    "Measurement.details": "takes nothing",
    "Measurement.lines": "takes nothing",
    "Measurement.means": "takes nothing",
    "ReferenceLibrary": "`open` makes it",
    "ReferenceLibrary.batches": "takes a condition of the table's own",
    "ReferenceLibrary.check": "takes nothing of a user's",
    "ReferenceLibrary.is_missing": "takes a clip of this library",
    "ReferenceLibrary.readable": "takes a counter of its own",
    "ReferenceLibrary.removed": "takes nothing",
    "ReferenceLibrary.file": "takes a clip of this library",
    "ReferenceLibrary.finish": "takes how many copies to keep",
    "ReferenceLibrary.reference": "takes a clip of this library",
    "ReferenceLibrary.stats": "takes nothing",
    "ReferenceVideo.describe": "takes nothing",
    "ReferenceVideo.read_whole": "takes nothing",
    "ReferenceVideo.sheet": "cannot fail",
}


def public() -> list[str]:
    """Names of `__all__` that can be called, and of their own public methods."""
    names = []
    for name in echoreel.__all__:
        found = getattr(echoreel, name)
        if callable(found):
            names.append(name)
        if inspect.isclass(found):
            for method, function in inspect.getmembers(found, inspect.isroutine):
                if (getattr(function, "__module__", None) or "").startswith("echoreel.") and method[0] != "_":
                    names.append(f"{name}.{method}")
    return names


def test_every_public_name_is_called_wrongly_or_cannot_be() -> None:
    assert sorted(public()) == sorted([*WRONG, *NOTHING_IS_WRONG])


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_argument_is_an_error_that_the_docstring_names(
    name: str, good: Good, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(good.folder)
    with pytest.raises((EchoReelError, OSError)) as caught:
        WRONG[name](good)
    assert len(str(caught.value).splitlines()) == 1
    found: object = echoreel
    for part in name.split("."):
        found = getattr(found, part)
    raises = re.search(r"Raises:\n((?: {4}.*\n?)+)", inspect.getdoc(found) or "")
    told = re.findall(r"^ {4}(\w+):", raises[1], re.MULTILINE) if raises else []
    kinds = [getattr(errors, each, None) or {"OSError": OSError}.get(each) for each in told]
    kinds += [kind for kind in type(caught.value).__mro__ if kind.__name__ in told]
    assert any(kind is not None and isinstance(caught.value, kind) for kind in kinds), (
        f"{name} raised {type(caught.value).__name__} ({caught.value}), and its docstring names {told}"
    )
