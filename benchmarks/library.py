"""A library of a million captions (or ten): adding, searching, memory, and how often the action is right.

    python benchmarks/library.py [--rows N] [--folder DIR] [--out FILE.json]

Captions are templates of people, actions, and places; the actions are those of
tests/data/catalogue_actions.txt and, of each verb that takes an object, that verb with twenty other objects.
Which action a row shows is in its URL, so nothing is judged by the code under test. Beside the library's
search, the same run scans the captions for one typed word as the released demo does: as released (it takes a
row of the wrong table) and repaired. Paraphrases are those of tests/data/paraphrases.tsv, people's own words
for actions of the catalogue.

Adding and searching are processes of their own, so that their memory is theirs; `processor` is the time that
they had on the cores, which a busy machine stretches little. `--folder` keeps what is made.
"""

import csv
import json
import os
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from results import kept_or_lost, machine, parser_of, run, tell

if TYPE_CHECKING:
    from echoreel.library.reference_library import ReferenceLibrary

DATA = Path(__file__).parent.parent / "tests" / "data"
PEOPLE = (
    "a man", "a woman", "an old lady", "a boy", "a girl", "a chef", "an athlete", "a raccoon", "a robot",
    "a dog", "two friends", "a child", "a farmer", "a student", "a nurse", "a clown", "a tourist",
    "an old man", "a soldier",
)  # fmt: skip
PLACES = (
    "in a garden", "on the beach", "at home", "near a bridge", "in a forest", "in the street", "at night",
    "by a lake", "in a studio", "on a roof", "in the snow", "under a tree", "at school", "on a stage",
    "in the kitchen", "in a parking lot", "at sunset", "in the desert", "on the moon", "in an office",
)  # fmt: skip
OBJECTS = (
    "a box", "a ball", "a chair", "a stone", "a basket", "a bottle", "a lamp", "a book", "a rope", "a bag",
    "a table", "a hat", "a flag", "a carpet", "a bucket", "a door", "a toy", "a mirror", "a shoe", "a plate",
)  # fmt: skip
CAPTIONS = ("{who} is {what} {where}", "{who} {what} {where}", "close up of {who} {what} {where}",
            "{where}, {who} is {what}", "slow motion shot of {who} {what} {where} in 4k")  # fmt: skip
PROMPTS = (
    "{who} is {what} {where}",
    "a video of {who} {what} {where}",
    "{who} who is {what} {where}, cinematic",
)
WITH_OBJECT = re.compile(r"(\w+ing) (?:a |an |the )?\w+")
WITHOUT = (
    "doing",
    "going",
    "playing",
    "having",
    "making",
    "taking",
    "riding",
    "practicing",
)  # an object of any kind


def actions() -> list[str]:
    """Of the catalogue, the ones of the file first."""
    lines = (DATA / "catalogue_actions.txt").read_text(encoding="utf-8").splitlines()
    phrases = [phrase.strip() for line in lines for phrase in line.split(";")]
    verbs = dict.fromkeys(found[1] for phrase in phrases if (found := WITH_OBJECT.fullmatch(phrase)))
    more = [f"{verb} {thing}" for verb in verbs if verb not in WITHOUT for thing in OBJECTS]
    return list(dict.fromkeys([*phrases, *more]))


def verb(phrase: str) -> str:
    """What of a phrase says the action: its verb, or all of one whose verb says nothing."""
    first = phrase.split()[0]
    return phrase if first in WITHOUT else first


def write_catalogue(path: Path, rows: int, phrases: Sequence[str]) -> None:
    """A CSV with the columns of WebVid."""
    chance = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["videoid", "contentUrl", "name"])
        for row in range(rows):
            action = chance.randrange(len(phrases))
            caption = _filled(CAPTIONS, phrases[action], chance)
            writer.writerow([row, f"https://videos.example/{action}/{row}.mp4", caption])


def _filled(templates: Sequence[str], phrase: str, chance: random.Random) -> str:
    template = chance.choice(templates)
    return template.format(who=chance.choice(PEOPLE), what=phrase, where=chance.choice(PLACES))


def prompts(phrases: Sequence[str], count: int) -> list[tuple[str, int]]:
    """Prompts, and the number of the action that each asks for."""
    chance = random.Random(1)
    asked = [chance.randrange(len(phrases)) for _ in range(count)]
    return [(_filled(PROMPTS, phrases[action], chance), action) for action in asked]


def paraphrases() -> list[tuple[str, set[str]]]:
    """Prompts in other words, and the phrases that answer them."""
    lines = (DATA / "paraphrases.tsv").read_text(encoding="utf-8").splitlines()
    return [(prompt, {*right.split("|")}) for prompt, right in (line.split("\t") for line in lines)]


def searched(place: str, count: int) -> dict[str, Any]:
    """Of a library that `write_catalogue`'s CSV was added to: times, and shares of right answers."""
    from echoreel.library.reference_library import ReferenceLibrary

    phrases, plain, other = actions(), prompts(actions(), count), paraphrases()
    began = time.perf_counter()
    library = ReferenceLibrary.open(place)
    library.search(plain[0][0])
    result: dict[str, Any] = {"first_search_s": time.perf_counter() - began}
    shown, times = _timed(library, [text for text, _ in plain], 10)
    result["templated"] = times | _shares(shown, [{phrases[action]} for _, action in plain], 10)
    for name, embedder in (("paraphrased", None), ("paraphrased_without_vectors", "none")):
        library = ReferenceLibrary.open(place, embedder=embedder)
        shown, times = _timed(library, [text for text, _ in other], 5)
        result[name] = times | _shares(shown, [right for _, right in other], 5)
    return result


def _timed(
    library: "ReferenceLibrary", texts: Sequence[str], count: int
) -> tuple[list[list[str]], dict[str, float]]:
    """The actions of `count` answers to each text, and times; the first search is not counted."""
    phrases, found, times = actions(), [], []
    library.search(texts[0], count)
    for text in texts:
        began = time.perf_counter(), time.process_time()
        found.append(library.search(text, count).results)
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    p50, p95 = (np.quantile(np.array(times), share, axis=0) * 1e3 for share in (0.5, 0.95))
    told = {"p50_ms": p50[0], "p95_ms": p95[0], "p50_processor_ms": p50[1], "p95_processor_ms": p95[1]}
    told = {name: round(float(each), 1) for name, each in told.items()}
    shown = [[phrases[_action(each.clip.path)] for each in answer] for answer in found]
    return shown, {"prompts": len(texts)} | told


def _shares(shown: list[list[str]], right: Sequence[set[str]], count: int) -> dict[str, float]:
    """Of `count` answers to each prompt: those with the action, and those with its verb."""
    pairs = list(zip(shown, right, strict=True))
    whole = sum(phrase in wanted for answer, wanted in pairs for phrase in answer)
    verbs = sum(verb(phrase) in {*map(verb, wanted)} for answer, wanted in pairs for phrase in answer)
    possible = count * len(pairs)
    return {"action_share": round(whole / possible, 4), "verb_share": round(verbs / possible, 4)}


def _action(path: str) -> int:
    return int(path.split("/")[3])


def scanned(catalogue: Path, count: int) -> dict[str, Any]:
    """The released demo's search: every caption is looked through for the word that the user types.

    Ten rows a word: drawn among the rows of the catalogue with the numbers 0 to matches - 1, as the demo does
    by mistake, and among the matches, as it means to.
    """
    phrases, chance = actions(), random.Random(2)
    asked = [phrases[action] for _, action in prompts(phrases, count)]
    words = [verb(phrase).split()[-1] for phrase in asked]
    matches: list[list[int]] = [[] for _ in words]
    of_row: list[int] = []
    times = [0.0] * len(words)
    for first, captions, numbers in _parts(catalogue):
        of_row += numbers
        for i, word in enumerate(words):
            began = time.perf_counter()
            for row, text in enumerate(captions):
                if word in text:
                    matches[i].append(first + row)
            times[i] += 1e3 * (time.perf_counter() - began)
    found: dict[str, Any] = {"prompts": count, "p50_ms": round(sorted(times)[count // 2], 1)}
    for name, rows in (("as_released", map(range, map(len, matches))), ("repaired", matches)):
        picked = [[chance.choice(each) for _ in range(10)] if len(each) else [] for each in rows]
        shown = [[phrases[of_row[row]] for row in each] for each in picked]
        found[name] = _shares(shown, [{phrase} for phrase in asked], 10)
    return found


def _parts(catalogue: Path, rows: int = 100_000) -> Iterator[tuple[int, list[str], list[int]]]:
    """(number of the first, captions, actions) of so many rows at a time."""
    captions: list[str] = []
    numbers: list[int] = []
    with catalogue.open(encoding="utf-8", newline="") as stream:
        for row, line in enumerate(csv.DictReader(stream), 1):
            captions.append(line["name"])
            numbers.append(_action(line["contentUrl"]))
            if len(captions) == rows:
                yield row - rows, captions, numbers
                captions, numbers = [], []
    yield row - len(captions), captions, numbers


def measure(rows: int, count: int, folder: Path) -> dict[str, Any]:
    """Everything, in a folder for the catalogue and the library."""
    catalogue, place = folder / "catalogue.csv", folder / "library"
    if not catalogue.exists():
        write_catalogue(folder / "partial.csv", rows, actions())
        (folder / "partial.csv").replace(catalogue)
    result: dict[str, Any] = {"machine": machine(), "rows": rows, "actions": len(actions())}
    command = [sys.executable, "-m", "echoreel", "library", "add", str(place), str(catalogue), "--json"]
    printed, spent = run(command)
    disk = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    added = json.loads(printed)["clips"]
    took = {"seconds": round(spent.seconds, 1), "processor_s": round(spent.processor, 1)}
    took["memory_gb"] = round(spent.memory / 2**30, 2)
    result["add"] = {"clips": added, **took, "disk_mb": disk >> 20, "load": os.getloadavg()[0]}
    print(json.dumps(result), file=sys.stderr, flush=True)
    printed, spent = run([sys.executable, __file__, "--search", str(place), "--prompts", str(count)])
    used = {"memory_gb": round(spent.memory / 2**30, 2), "load": os.getloadavg()[0]}
    result["search"] = json.loads(printed) | used
    result["scan"] = scanned(catalogue, min(count, 20))
    return result


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where to keep the catalogue and the library")
    parser.add_argument("--search", metavar="LIBRARY", help="only search a library made before")
    options = parser.parse_args()
    if options.search:
        tell(searched(options.search, options.prompts), options.out)
        return
    with kept_or_lost(options.folder) as folder:
        tell(measure(options.rows, options.prompts, folder), options.out)


if __name__ == "__main__":
    main()
