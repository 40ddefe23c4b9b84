"""The command line: parse, check, call one public function, show the result.

Results go to stdout (for people, or as one JSON object with --json), progress and errors to stderr. Exit code
2 for anything the user can mend, 130 after Ctrl-C. Heavy packages are imported inside the commands only. A
command has one parameter per option, however many that are.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from echoreel import __version__
from echoreel.answer import answering, hush
from echoreel.errors import SettingsError

if TYPE_CHECKING:
    from echoreel.references import ReferenceVideo

app = typer.Typer(
    name="echoreel",
    help="Make a video diffusion model perform an action by showing it reference videos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
prepare = typer.Typer(no_args_is_help=True, help="Make what trainings and tests read.")
app.add_typer(prepare, name="prepare")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the recipe; repeatable."),
]
Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="Settings; see recipes/.")]
Base = Annotated[
    str | None, typer.Option(metavar="DIR|ID", help="A diffusers pipeline. Default: the embedded one.")
]
EACH = "Once for all references, or once for each."


@app.callback(invoke_without_command=True)
def common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"echoreel {__version__}")
        raise typer.Exit


@app.command(
    epilog='Example: echoreel generate "a person in a red sweater doing a cartwheel" '
    "--reference cartwheel.mp4 --seed 7 --compare -o out.mp4"
)
def generate(
    prompt: Annotated[str, typer.Argument(help="What the video should show.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where to: .mp4, .gif or .webp.")
    ] = Path("out.mp4"),
    reference: Annotated[
        list[Path] | None,
        typer.Option("--reference", "-r", metavar="FILE", help="A video that shows the action; repeatable."),
    ] = None,
    caption: Annotated[
        list[str] | None,
        typer.Option(
            "--reference-caption",
            metavar="TEXT",
            help=f"What the reference shows. Default: the .txt beside it. {EACH}",
        ),
    ] = None,
    start: Annotated[
        list[float] | None,
        typer.Option(metavar="SECONDS", help=f"Where in the reference the action begins. {EACH}"),
    ] = None,
    end: Annotated[list[float] | None, typer.Option(metavar="SECONDS", help=f"Where it ends. {EACH}")] = None,
    strength: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help=f"Weight of the reference: 0 none, 1 as trained. {EACH}"),
    ] = None,
    show_frames: Annotated[
        bool,
        typer.Option("--show-frames", help="Write FILE-frames.png: the frames that the references gave."),
    ] = False,
    base: Base = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="An adapter for that base. Default: the embedded one."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(metavar="N", help="One video per seed; repeatable. Default: 0.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Denoising steps. Default: the base's.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(metavar="X", help="Classifier-free guidance. Default: the base's.")
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it should not show.")
    ] = None,
    scale: Annotated[float, typer.Option(metavar="X", help="Of all references: 0 none, 1 as trained.")] = 1.0,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also make the base's own video; write FILE-compare.png and .mp4."),
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a video of PROMPT in which the action is that of the reference videos.

    FILE.json beside it tells how it was made. The videos of several seeds are named FILE-SEED.
    """
    with answering(as_json, debug) as answer:
        from echoreel.config import checked
        from echoreel.result import GenerationSettings, check_output, checked_request

        check_output(out)
        settings = checked(
            GenerationSettings,
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            scale=scale,
            compare=compare,
        )
        seeds = checked_request(prompt, len(reference or []), seed or (0,), settings)
        references = read_references(reference or [], caption, start, end, strength)
        for taken in references:
            answer.say(f"reference: {taken.describe()}")
        began = time.perf_counter()
        with answer.busy("loading the models"):
            hush()
            from echoreel import generation

            loaded = generation.load_adapter(adapter) if references else None
            pipe = generation.load_base(base)
        loading = time.perf_counter() - began
        files = write_sheets(references, out) if show_frames else []
        result = generation.generate(
            prompt, references, base=pipe, adapter=loaded, seed=seeds, settings=settings
        )
        files += result.save(out)
        if compare:
            files += result.save_comparison(out)
        for file in files:
            answer.say(f"wrote {file}")
        answer.say(f"{result.summary()} ({loading:.1f} s to load)")
        answer.facts = result.details() | {
            "files": [str(file) for file in files],
            "loading_seconds": round(loading, 2),
        }


@app.command(
    epilog="Example: echoreel train recipes/adapter.toml --set fit.steps=2000 --set folder=runs/mine"
)
def train(recipe: Recipe, overrides: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Train an adapter on a base from prepared pairs. Stopped at any moment, the same command goes on."""
    with answering(as_json, debug) as answer:
        hush()
        from echoreel.config import load_settings
        from echoreel.tasks import AdapterRecipe, train_adapter

        folder = train_adapter(load_settings(recipe, AdapterRecipe, overrides or ()))
        answer.say(f"wrote {folder}; use it with --adapter {folder}")
        answer.facts = {"adapter": str(folder)}


@app.command(epilog="Example: echoreel evaluate recipes/first-evidence.toml --prompts 4 --json table.json")
def evaluate(
    recipe: Recipe,
    motions: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another motion library than the recipe's.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="The one split to measure.")] = None,
    prompts: Annotated[int | None, typer.Option(metavar="N", min=1, help="Prompts of each action.")] = None,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the table here too, as JSON; - prints it instead."),
    ] = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Measure whether references make the base perform their action: a table with 95 % intervals."""
    as_json = json == Path("-")
    with answering(as_json, debug) as answer:
        hush()
        from echoreel.config import load_settings
        from echoreel.evaluate import EvaluateSettings
        from echoreel.evaluate import evaluate as measure

        settings = load_settings(recipe, EvaluateSettings, overrides or ())
        report = measure(settings, motions, split, prompts, None if as_json else json)
        answer.say(report.markdown())
        answer.say(f"wrote {report.folder}" + (f" and {json}" if json else ""))
        answer.facts = report.details()


@app.command(epilog="Example: echoreel convert checkpoint.pt --kind echoreel-lvdm -o paper")
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A released checkpoint file.")],
    kind: Annotated[str, typer.Option(metavar="KIND", help="echoreel-lvdm, or lvdm for the base alone.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to: DIR/base, DIR/adapter.")],
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="CLIP ViT-L/14's. Default: openai/clip-vit-large-patch14."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Turn the paper's own weights into a base and an adapter for `generate`."""
    with answering(as_json, debug) as answer:
        hush()
        from echoreel.convert_files import TOKENIZER, convert_file

        with answer.busy("converting"):
            folders = convert_file(source, kind, out, tokenizer or TOKENIZER)
        for folder in folders:
            answer.say(f"wrote {folder}; use it with --{folder.name} {folder}")
        answer.facts = {folder.name: str(folder) for folder in folders}


@app.command(epilog="Example: echoreel info --adapter runs/mine/adapter")
def info(
    base: Annotated[
        str | None,
        typer.Argument(metavar="[DIR|ID]", help="A diffusers pipeline. Default: the embedded one."),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="An adapter. Default: the embedded one, or a fresh one."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what a base and its adapter are: family, sites, parameters, size of the videos."""
    with answering(as_json, debug) as answer:
        with answer.busy("loading the models"):
            hush()
            from echoreel.about import describe, lines

            answer.facts = describe(base, adapter)
        for line in lines(answer.facts):
            answer.say(line)


@prepare.command(epilog="Example: echoreel prepare pairs videos/pairs.jsonl runs/pairs")
def pairs(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST.jsonl", help="One pair a line; see the docs.")
    ],
    folder: Annotated[Path, typer.Argument(help="Where to.")],
    base: Base = None,
    frames: Annotated[int, typer.Option(metavar="N", help="Of each video.")] = 16,
    fps: Annotated[float, typer.Option(metavar="X", help="Frames a second.")] = 8.0,
    references: Annotated[int, typer.Option(metavar="N", help="Of each pair: a line's first so many.")] = 1,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Encode pairs of ordinary videos, of one action each, for `train`. Stopped, the same command goes on."""
    with answering(as_json, debug) as answer:
        hush()
        from echoreel.config import checked
        from echoreel.generation import load_base
        from echoreel.prepare import PrepareSettings, prepare_pairs

        settings = checked(PrepareSettings, frames=frames, fps=fps, references=references)
        with answer.busy("encoding"):
            found = prepare_pairs(load_base(base), manifest, folder, settings)
        answer.say(f"wrote {len(found)} pairs to {folder}")
        answer.facts = {"folder": str(folder), "pairs": len(found)}


@prepare.command(
    epilog="Example: echoreel prepare clips clips --motions ../shared/motion --split heldout --count 20"
)
def clips(
    folder: Annotated[Path, typer.Argument(help="Where to: 000000.mp4 beside 000000.txt and so on.")],
    motions: Annotated[Path, typer.Option(metavar="DIR", help="A motion library.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="Which of its recordings.")] = "train",
    count: Annotated[int, typer.Option(metavar="N", min=1, help="How many clips.")] = 16,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Number of the first clip.")] = 0,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="Height and width.")] = 64,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Film people performing recorded actions: videos and their captions."""
    with answering(as_json, debug) as answer:
        from echoreel.actors.clips import write_clips
        from echoreel.actors.domain import ActorDomain, ActorSettings
        from echoreel.actors.motions import MotionLibrary
        from echoreel.config import checked

        settings = checked(ActorSettings, size=size)
        domain = ActorDomain(MotionLibrary.load(motions).split(split), settings)
        with answer.busy("filming"):
            files = write_clips(domain, folder, count, seed)
        answer.say(f"wrote {len(files)} clips with captions to {folder}")
        answer.facts = {"files": [str(file) for file in files]}


@prepare.command(epilog="Example: echoreel prepare actors recipes/embedded-base.toml")
def actors(
    recipe: Recipe, overrides: Overrides = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Train the embedded base on actors, and encode the pairs for its adapter. Stopped, it goes on."""
    with answering(as_json, debug) as answer:
        hush()
        from echoreel.actors.pretrain import BaseRecipe, train_base
        from echoreel.config import load_settings

        folder = train_base(load_settings(recipe, BaseRecipe, overrides or ()))
        answer.say(f"wrote {folder}; use it with --base {folder}")
        answer.facts = {"base": str(folder)}


@prepare.command(epilog="Example: echoreel prepare prism recipes/prism.toml")
def prism(recipe: Recipe, overrides: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Teach a fresh adapter's Prism alone, for `train` to go on from. Stopped, it goes on."""
    with answering(as_json, debug) as answer:
        hush()
        from echoreel.config import load_settings
        from echoreel.prism_task import PrismRecipe, train_prism

        folder = train_prism(load_settings(recipe, PrismRecipe, overrides or ()))
        answer.say(f'wrote {folder}; use it with start = "{folder}" in a recipe of train')
        answer.facts = {"adapter": str(folder)}


@prepare.command(epilog="Example: echoreel prepare judges recipes/judges.toml")
def judges(
    recipe: Recipe, overrides: Overrides = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Train the judge that `evaluate` measures actions and looks with. Stopped, it goes on."""
    with answering(as_json, debug) as answer:
        from echoreel.actors.judge_training import JudgeRecipe, train_judges
        from echoreel.config import load_settings

        folder = train_judges(load_settings(recipe, JudgeRecipe, overrides or ()))
        answer.say(f'wrote {folder}; use it with judge = "{folder}" in a recipe of evaluate')
        answer.facts = {"judge": str(folder)}


def read_references(
    files: Sequence[Path],
    captions: Sequence[str] | None,
    starts: Sequence[float] | None,
    ends: Sequence[float] | None,
    strengths: Sequence[float] | None,
) -> "list[ReferenceVideo]":
    """The references, each with its own options or those given for all. Raises SettingsError, VideoError."""
    from echoreel.references import ReferenceVideo

    each = zip(
        files,
        _each("reference-caption", captions, len(files)),
        _each("start", starts, len(files)),
        _each("end", ends, len(files)),
        _each("strength", strengths, len(files), otherwise=1.0),
        strict=True,
    )
    return [
        ReferenceVideo.from_file(file, caption, start=start, end=end, strength=strength)
        for file, caption, start, end, strength in each
    ]


def write_sheets(references: "Sequence[ReferenceVideo]", out: Path) -> list[Path]:
    """Pictures of the frames taken, beside the output: out-frames.png, or out-frames-1.png and so on."""
    from echoreel.video import write_image

    written = []
    for number, reference in enumerate(references, 1):
        suffix = f"-{number}" if len(references) > 1 else ""
        written.append(out.with_name(f"{out.stem}-frames{suffix}.png"))
        write_image(written[-1], reference.sheet())
    return written


def _each(option: str, values: Sequence[Any] | None, count: int, otherwise: Any = None) -> list[Any]:
    """One value per reference. Raises SettingsError unless there are none, one, or as many as references."""
    if not values:
        return [otherwise] * count
    if len(values) == 1 and count:
        return [values[0]] * count
    if len(values) != count:
        raise SettingsError(
            f"--{option}: got {len(values)} for {count} references, need one, or one for each"
        )
    return list(values)


def main() -> None:
    """The `echoreel` command."""
    app()
