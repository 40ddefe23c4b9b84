"""A finished run -> a folder that others can load: the adapter, a model card, and how it was trained."""

import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi, ModelCardData

from echoreel.common.checksums import check_sum
from echoreel.common.errors import CheckpointError, EchoReelError, OutputError
from echoreel.common.files import written_beside
from echoreel.common.loading_errors import reason_of
from echoreel.common.places import resolved, small_file
from echoreel.common.text import checked_text, one_line
from echoreel.media.video_files import Span, read_frames, write_video
from echoreel.training.evaluated import Evaluated, evaluated
from echoreel.training.run_facts import FACTS, MISSING, TrainingFacts, facts_of, published_facts
from echoreel.training.train_adapter import PLACES, AdapterRecipe

FILES = ("config.json", "diffusion_pytorch_model.safetensors")
SAMPLE_FPS, SAMPLE_FRAMES = 8.0, 64
NO_NAME = r"[^\w.-]+"  # in a name that stands in Markdown
MARKS = re.compile(r"[\\`*\[\]!|<>~&]")  # of Markdown and HTML


def publish(
    run: Path, name: str, license: str, to: Path, data: str = MISSING, samples: Sequence[Path] = ()
) -> TrainingFacts:
    """Write the folder `to` from a run of `train`. samples: videos to show, each becomes a GIF.

    Raises EchoReelError for a run that is not finished, VideoError's family, OutputError.
    """
    for what, text in (("name", name), ("license", license), ("data", data)):
        checked_text(what, text)
    adapter = run / "adapter"
    missing = [
        path for path in (*(adapter / file for file in FILES), run / "recipe.json") if not path.is_file()
    ]
    if missing:
        raise EchoReelError(
            f"{run}: has no {missing[0].relative_to(run)}; give the folder of a finished training"
        )
    if not license.strip():
        raise EchoReelError("the licence is empty; say how others may use the adapter, such as apache-2.0")
    if resolved(to).is_relative_to(resolved(run)):
        raise EchoReelError(f"{to}: lies in the run's folder; choose another place")
    _check_adapter(adapter)
    if to.is_dir() and any(to.iterdir()) and published_facts(to) is None:
        raise OutputError(f"{to}: has files, and no {FACTS} of an earlier publication; choose another folder")
    gifs = [
        f"samples/{number:02d}-{re.sub(NO_NAME, '-', path.stem)}.gif"
        for number, path in enumerate(samples, 1)
    ]
    facts = _facts(run, name, license, data, tuple(gifs))
    with written_beside(to) as partial:
        partial.mkdir()
        for file in FILES:
            shutil.copyfile(adapter / file, partial / file)
        for source, gif in zip(samples, gifs, strict=True):
            (partial / "samples").mkdir(exist_ok=True)
            clip = read_frames(source, Span(start=0.0, fps=SAMPLE_FPS, frames=SAMPLE_FRAMES))
            write_video(partial / gif, clip.frames, SAMPLE_FPS)
        (partial / FACTS).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(model_card(facts), encoding="utf-8")
    return facts


def _check_adapter(adapter: Path) -> None:
    """Raises EchoReelError for files that lie elsewhere, or that a disk changed."""
    if any(not resolved(adapter / file).is_relative_to(resolved(adapter)) for file in FILES):
        raise EchoReelError(
            f"{adapter}: has a link to a file elsewhere, which is not published; copy it there"
        )
    try:
        check_sum(adapter / FILES[1])
    except (CheckpointError, OSError) as error:
        raise EchoReelError(f"{adapter}: {reason_of(error)}") from error


def push(folder: Path, hub_id: str, private: bool) -> str:
    """Upload a published folder to the Hugging Face hub. Returns its address. Raises EchoReelError."""
    try:
        api = HfApi()
        api.create_repo(hub_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=hub_id, folder_path=folder)
    except Exception as error:  # of the network, the hub or the name: no common type
        reason = str(error).strip().split("\n")[0]
        raise EchoReelError(
            f"{hub_id}: not uploaded ({reason or type(error).__name__}); log in with `hf auth login`; "
            f"{folder} is complete and can be uploaded again"
        ) from error
    return f"https://huggingface.co/{hub_id}"


def _facts(run: Path, name: str, license: str, data: str, samples: tuple[str, ...]) -> TrainingFacts:
    """Raises EchoReelError for files of a run that do not belong to one."""
    told: dict[str, Any] = {"name": name, "license": license, "data": data, "samples": samples}
    told["evaluation"] = evaluated(run)
    try:
        recipe = AdapterRecipe.model_validate_json(small_file(run / "recipe.json"))
        settings = recipe.model_dump(mode="json", exclude=PLACES)
        return facts_of(run, recipe.base, recipe.pairs, settings, **told)
    except (OSError, ValueError, LookupError, OverflowError) as error:
        raise EchoReelError(f"{run}: its recipe.json or metrics.jsonl is damaged; train again") from error


def model_card(facts: TrainingFacts) -> str:
    """The README.md of the hub's page."""
    head = ModelCardData(
        license=facts.license,
        base_model=facts.base if "/" in facts.base else None,
        library_name="echoreel",
        pipeline_tag="text-to-video",
        tags=["echoreel", "action-adapter", "video-generation"],
    )
    shown = "\n".join(f"![{_text(Path(each).stem)}]({quote(each)})" for each in facts.samples)
    pairs = MISSING if facts.pairs is None else f"{facts.pairs}, each with {facts.references} references"
    return f"""---
{head.to_yaml()}
---

# {_text(facts.name)}

An action adapter of [EchoReel](https://arxiv.org/abs/2403.11535) for {_text(facts.base)}: it makes that
frozen video model perform the action of a reference video. {"" if facts.samples else "No samples are shown."}

{shown}

## Use

Install EchoReel from its repository (`pip install .`), then:

```sh
echoreel generate "a raccoon playing the guitar" --reference guitar.mp4 \\
    --base {shlex.quote(one_line(facts.base))} --adapter THIS_REPOSITORY_OR_FOLDER -o out.mp4
```

## Training

| | |
| --- | --- |
| base | {_text(facts.base)} |
| data | {_text(facts.data)} |
| pairs | {_text(pairs)} |
| clips | {facts.clips()} |
| latents (C, T, h, w) | {facts.latents or MISSING} |
| steps | {facts.steps}, {facts.hours:.1f} hours |
| licence | {_text(facts.license)} |

The whole recipe is in `{FACTS}`.

## Does it use its references?

{_evidence(facts.validation)}

{_evaluation(facts.evaluation)}
"""


def _text(text: str) -> str:
    """On one line of a card, where nothing in it is markup."""
    return MARKS.sub(lambda mark: f"&#{ord(mark[0])};", one_line(text))


def _evidence(numbers: dict[str, float]) -> str:
    """The validation with its controls, in words."""
    names = ("right", "shuffled", "none")
    if not all(name in numbers for name in names):
        return "No validation was made."
    right, shuffled, none = (numbers[name] for name in names)
    verdict = (
        "They rise in this order: the adapter uses its references."
        if right < shuffled < none
        else "They should rise in this order and do not: do not expect references to act."
    )
    return (
        "Denoising error on pairs that were never trained on, with:\n\n"
        "| the right references | those of another pair | none |\n| --- | --- | --- |\n"
        f"| {right:.4g} | {shuffled:.4g} | {none:.4g} |\n\n{verdict}"
    )


def _evaluation(found: Evaluated | None) -> str:
    """The table of held-out actions, in words."""
    if found is None:
        return "It was not evaluated on actions held out."
    actions = _text(", ".join(found.actions))
    return (
        f"Videos of {len(found.actions)} actions that were held out of training ({actions}), with 95 % "
        "intervals. `ours` has references of the action; `shuffled`, the control, those of another:\n\n"
        f"{found.markdown()}"
    )
