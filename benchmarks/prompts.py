"""How often the action of a prompt is found, for prompts as people write them: 300, of ten kinds.

    python benchmarks/prompts.py [--half A|B] [--wrong]

tests/data/prompts.tsv has prompt, right actions, kind and half. `kick|karate`: either is right; `sit;kick`:
the actions in order, of which one counts; `-`: no action. Half A is to choose by, half B is kept apart.
--wrong prints the prompts that were misunderstood.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from echoreel.library.actions.find_action import Action, find_action

PROMPTS = Path(__file__).parents[1] / "tests/data/prompts.tsv"


class Prompt(NamedTuple):
    """A line of the table."""

    text: str
    right: str
    kind: str
    half: str

    def is_answered_by(self, action: Action | None) -> bool:
        """Whether the action is one of the right ones."""
        if self.right == "-" or action is None:
            return self.right == "-" and action is None
        return action.verb in {each for some in self.right.split(";") for each in some.split("|")}


def prompts(half: str) -> list[Prompt]:
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()[1:]
    return [each for line in lines if (each := Prompt(*line.split("\t"))).half in half]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--half", default="A", choices=["A", "B", "C", "AB", "AC"])
    parser.add_argument("--wrong", action="store_true")
    options = parser.parse_args()
    asked = prompts(options.half)
    find_action("a man running")  # reads the word lists
    began = time.process_time()
    found = [find_action(each.text) for each in asked]
    microseconds = (time.process_time() - began) / len(asked) * 1e6
    right, every = Counter[str](), Counter[str]()
    for prompt, action in zip(asked, found, strict=True):
        every[prompt.kind] += 1
        right[prompt.kind] += prompt.is_answered_by(action)
        if options.wrong and not prompt.is_answered_by(action):
            print(f"{prompt.kind:12} {prompt.right:20} {action and action.phrase!s:30} {prompt.text}")
    kinds = {kind: f"{right[kind]} of {count}" for kind, count in every.items()}
    facts = {"half": options.half, "right": round(right.total() / every.total(), 3), "kinds": kinds}
    print(json.dumps(facts | {"microseconds_a_prompt": round(microseconds)}))


if __name__ == "__main__":
    main()
