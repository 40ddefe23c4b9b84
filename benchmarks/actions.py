"""How well actions are found in texts, how fast, and how well those of other words are matched.

    python benchmarks/actions.py [--texts N] [--out FILE.json]

Texts with the right answer are in tests/data: `actions_tuned.tsv` the rules were made on,
`actions_apart.tsv` not. `paraphrases.tsv` are prompts that say an action of `catalogue_actions.txt` in
other words; the catalogue is each action with 9 people in 14 places. Precision at 5 is the share of the
five best clips whose verb (or whose verb and object) is right. The even lines chose the weights and the
threshold of ranking.py, the odd ones did not. `fits.tsv` has further ones, and prompts of actions that the
catalogue lacks (`-`); half A chose what words add to a score and the threshold, half B is kept apart.
"""

import platform
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from results import parser_of, tell

from echoreel.library.actions.find_action import Action, find_action, find_actions
from echoreel.library.actions.rank_actions import FITS, ActionIndex, embed_actions, embed_query
from echoreel.library.actions.text_embedder import load_embedder

DATA = Path(__file__).parent.parent / "tests" / "data"
PEOPLE = (
    "a man",
    "a woman",
    "an old lady",
    "a boy",
    "a girl",
    "a raccoon",
    "a robot",
    "a chef",
    "an athlete",
)
PLACES = (
    "in a garden", "on the beach", "at home", "near a bridge", "in a forest", "in the street", "at night",
    "by a lake", "in a studio", "on a roof", "in the snow", "under a tree", "at school", "on a stage",
)  # fmt: skip
UNASKED = (
    "a spaceship landing on mars",
    "a hacker breaking into a server",
    "a planet orbiting a star",
    "a judge sentencing a thief",
    "a priest baptizing a child",
    "a dentist pulling a tooth",
    "a beaver building a dam",
    "a hen laying an egg",
    "a lawyer suing a company",
    "a pilot ejecting from a jet",
    "a chemist distilling alcohol",
    "a plumber unclogging a drain",
)  # actions that the catalogue lacks


def read(name: str) -> list[list[str]]:
    """Rows of a file of tab-separated values."""
    return [line.split("\t") for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def accuracy(name: str) -> dict[str, Any]:
    """Share of texts whose verb, and whose verb and object, are right."""
    verbs = objects = 0
    rows = read(name)
    for text, verb, *acted in rows:
        names, after = verb.split("|"), (acted[0] if acted else "").split("|")
        after = after * len(names) if len(after) == 1 else after
        right = {
            None if one == "-" else (one, *objects_.split())
            for one, objects_ in zip(names, after, strict=True)
        }
        found = find_action(text)
        verbs += (None if found is None else found.verb) in {answer and answer[0] for answer in right}
        objects += (None if found is None else found.lemmas) in right
    return {"texts": len(rows), "verb": verbs / len(rows), "verb_and_object": objects / len(rows)}


def catalogue() -> list[list[Action]]:
    """The actions, those of a line together, as they are found in captions."""
    lines = (DATA / "catalogue_actions.txt").read_text(encoding="utf-8").splitlines()
    return [[found(phrase.strip()) for phrase in line.split(";")] for line in lines]


def found(phrase: str) -> Action:
    action = find_action(f"a person is {phrase} in a park")
    assert action is not None, phrase
    return action


def speed(count: int, actions: list[Action]) -> dict[str, float]:
    """Microseconds a caption: of templates, and of texts that were never seen."""
    chance = random.Random(0)
    texts = [
        f"{chance.choice(PEOPLE)} is {chance.choice(actions).phrase} {chance.choice(PLACES)}"
        for _ in range(count)
    ]
    unseen = [row[0] for row in read("actions_apart.tsv") + read("paraphrases.tsv")]
    find_action("warm")
    times = {}
    for name, some in (("unseen_us", unseen), ("templated_us", texts)):
        began = time.perf_counter()
        find_actions(some)
        times[name] = (time.perf_counter() - began) / len(some) * 1e6
    return times


def paraphrases(actions: list[Action], embedded: bool) -> dict[str, Any]:
    """Precision at 5 of each half, by verb and by verb and object, and what falls below the threshold."""
    embedder = load_embedder() if embedded else None
    vectors = embed_actions([action.phrase for action in actions], embedder) if embedder else None
    index = ActionIndex(actions, vectors)
    rows = read("paraphrases.tsv")
    verb, whole, fits = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows), bool)
    for i, (prompt, right) in enumerate(rows):
        wanted = [found(phrase) for phrase in right.split("|")]
        query = find_action(prompt) or Action(prompt, prompt, (prompt,))
        ranked = index.rank(query, embed_query(query, prompt, embedder) if embedder else None)
        clips = [actions[one.index] for one in ranked for _ in range(len(PEOPLE) * len(PLACES))][:5]
        verb[i] = sum(clip.verb in {action.verb for action in wanted} for clip in clips) / 5
        whole[i] = sum(clip in wanted for clip in clips) / 5
        fits[i] = bool(ranked) and ranked[0].score >= FITS
    halves = {"tuned": slice(0, None, 2), "apart": slice(1, None, 2), "all": slice(None)}
    result: dict[str, Any] = {
        name: {"prompts": len(verb[half]), "verb": verb[half].mean(), "verb_and_object": whole[half].mean(),
               "fits": fits[half].mean()}
        for name, half in halves.items()
    }  # fmt: skip
    if embedder:
        asked = [(text, find_action(text)) for text in UNASKED]
        best = [index.rank(query, embed_query(query, text, embedder), 1)[0] for text, query in asked if query]
        result["unasked_fits"] = float(np.mean([one.score >= FITS for one in best]))
    return result


def fitting(actions: list[Action]) -> dict[str, Any]:
    """Of each half: how often the best action has the right verb, and what falls below the threshold.

    Of right answers and of actions that the catalogue lacks; and what share of these a threshold refuses
    that refuses 3 % of the right answers.
    """
    embedder = load_embedder()
    index = ActionIndex(actions, embed_actions([action.phrase for action in actions], embedder))
    rows = read("fits.tsv")[1:]
    for name in (read("paraphrases.tsv"), [[text, "-"] for text in UNASKED]):
        rows += [[text, right, "AB"[i % 2]] for i, (text, right) in enumerate(name)]
    result = {}
    for half in "AB":
        right, absent, asked = list[float](), list[float](), 0
        for text, answer, _ in (row for row in rows if row[2] == half):
            query = find_action(text)
            asked += answer != "-"
            best = query and index.rank(query, embed_query(query, text, embedder), 1)[0]
            if answer == "-":
                absent.append(best.score if best else 0.0)
            elif best and actions[best.index].verb in {found(phrase).verb for phrase in answer.split("|")}:
                right.append(best.score)
        least = sorted(right)[int(0.03 * len(right))]
        result[half] = {
            "prompts": asked, "right": len(right) / asked, "lacking": len(absent),
            "right_refused": float(np.mean(np.array(right) < FITS)),
            "lacking_refused": float(np.mean(np.array(absent) < FITS)),
            "lacking_refused_at_3_percent": float(np.mean(np.array(absent) < least)),
        }  # fmt: skip
    return result


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--texts", type=int, default=200_000)
    arguments = parser.parse_args()
    actions = list(dict.fromkeys(action for line in catalogue() for action in line))
    result = {
        "machine": f"{platform.machine()}, python {platform.python_version()}",
        "tuned": accuracy("actions_tuned.tsv"),
        "apart": accuracy("actions_apart.tsv"),
        "speed": speed(arguments.texts, actions),
        "actions": len(actions),
        "verbs": len({action.verb for action in actions}),
        "paraphrases": paraphrases(actions, embedded=True),
        "fits": fitting(actions),
        "paraphrases_without_vectors": paraphrases(actions, embedded=False),
    }
    tell(result, arguments.out)


if __name__ == "__main__":
    main()
