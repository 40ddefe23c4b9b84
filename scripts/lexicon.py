"""Distil echoreel/assets/lexicon.txt.gz (which words are verbs) and related.txt.gz (verbs near in meaning).

    python scripts/lexicon.py WORDNET_FOLDER

WORDNET_FOLDER holds `index.noun`, `data.verb`, `cntlist.rev` and so on (Debian's wordnet-base has them in
/usr/share/wordnet); the inflections are those of the package lemminflect 0.2.3. A line of the result is
`word kind lemma`; the kinds' letters are told in echoreel/library/actions/word_classes.py.
"""

import gzip
import sys
from collections import Counter, defaultdict
from functools import cache
from importlib.resources import files
from pathlib import Path

from echoreel.library.actions.related_verbs import RELATED
from echoreel.library.actions.word_classes import FILE, Kind, plain_singular

ANIMATE = {"05", "18"}  # WordNet's lexicographer files of animals and people
PARTS = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}
NAMES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
VAGUE = (
    "move be make do act change get have touch express communicate travel go cause interact perform alter "
    "modify displace transfer take give put"
)
MORE_VERBS = (
    "tattoo backflip breakdance deadlift freestyle handstand headbutt moonwalk rollerblade skydive "
    "somersault text twerk vlog bungee parkour livestream multitask facepalm fistbump airdrop unbox "
    "dunk snorkel kayak canoe wakeboard longboard powerwash selfie frontflip zipline barrel-roll "
    "bodysurf crowdsurf high-five blow-dry air-guitar chainsaw drone hula-hoop layup barbecue grill "
    "bicycle cycle jog sprint windsurf kitesurf paraglide hang-glide free-fall hitchhike jackhammer "
    "sandblast spray-paint belly-dance tap-dance pole-dance "
)


def main(wordnet: Path) -> None:
    """Write the file."""
    counts, animate = counted(wordnet)
    forms, inflected = readings()
    lines = []
    for word in sorted(inflected):
        if not word.replace("-", "").isalpha():
            continue
        found = classed(word, inflected[word], forms, counts, animate)
        if found is not None:
            lines.append(f"{word} {found[0]} {found[1]}")
    written(FILE, lines)
    near = {verb: related(verb, counts, *synsets(wordnet)) for verb in sorted(forms)}
    written(RELATED, [" ".join((verb, *words)) for verb, words in near.items() if words])


def written(path: Path, lines: list[str]) -> None:
    """Write lines, compressed, the same bytes for the same lines."""
    with gzip.GzipFile(path, "wb", 9, mtime=0) as file:
        file.write(("\n".join(lines) + "\n").encode())
    print(f"wrote {len(lines)} lines to {path.name}, {path.stat().st_size} bytes")


@cache
def synsets(folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[str]]]:
    """WordNet's verbs: synset -> its words, synset -> more general ones, word -> its synsets by frequency."""
    words, above, senses = {}, {}, {}
    for line in (folder / "data.verb").read_text().splitlines():
        if not line.startswith(" "):
            offset, _, _, count, *rest = line.split(" ")
            words[offset] = [rest[2 * i].lower() for i in range(int(count, 16))]
            pointers = rest[2 * len(words[offset]) + 1 :]
            above[offset] = [pointers[i + 1] for i in range(0, len(pointers) - 3) if pointers[i] == "@"]
    for line in (folder / "index.verb").read_text().splitlines():
        if not line.startswith(" "):
            lemma, _, count, *rest = line.split()
            senses[lemma] = rest[-int(count) :]
    return words, above, senses


def related(
    verb: str,
    counts: dict[str, Counter[str]],
    words: dict[str, list[str]],
    above: dict[str, list[str]],
    senses: dict[str, list[str]],
) -> list[str]:
    """Common verbs that mean what its two commonest senses mean, or are a step or two more general."""
    first = senses.get(verb, [])[:2]
    found = [word for sense in first for word in words[sense]]
    found += [word for sense in first for one in above[sense] for word in words[one][:2]]
    found += [words[two][0] for sense in first for one in above[sense] for two in above[one]]
    return [
        word
        for word in dict.fromkeys(found)
        if word != verb and word.isalpha() and word not in VAGUE.split() and counts[word]["verb"] >= 3
    ][:8]


def counted(folder: Path) -> tuple[dict[str, Counter[str]], set[str]]:
    """How often a lemma is each part of speech in WordNet's tagged texts, and the lemmas of living beings."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        lemma, sense = key.split("%")
        counts[lemma][PARTS[sense[0]]] += int(count)
    files_of = {}
    for line in (folder / "data.noun").read_text().splitlines():
        if not line.startswith(" "):
            offset, file, *_ = line.split(None, 2)
            files_of[offset] = file
    animate = set()
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"index.{part}").read_text().splitlines():
            if line.startswith(" "):
                continue
            lemma, kind, _, pointers, *rest = line.split()
            counts[lemma][NAMES[kind]] += 0.5  # a sense that the texts never show still counts a little
            if part == "noun" and files_of[rest[int(pointers) + 2]] in ANIMATE:
                animate.add(lemma)
    return counts, animate


def readings() -> tuple[dict[str, dict[str, str]], dict[str, list[tuple[str, str]]]]:
    """For each verb its forms by name; for each word its (part or form, lemma) readings."""
    inflected: dict[str, list[tuple[str, str]]] = defaultdict(list)
    verbs: dict[str, dict[str, str]] = {}
    table = gzip.decompress((files("lemminflect") / "resources" / "infl_lu.csv.gz").read_bytes()).decode()
    for line in table.splitlines():
        lemma, part, *rest = line.split(",")
        if not lemma.isascii() or not lemma.islower():
            continue
        if part != "verb":
            inflected[lemma].append((part, lemma))
            for plural in rest[0].split("/") if part == "noun" else ():
                if plural and plural != lemma:
                    inflected[plural].append(("plural", lemma))
            continue
        past, participle, ing, third = (rest + [""] * 4)[:4]
        names = {"past": f"{past}/{participle}", "ing": ing, "third": third}
        verbs[lemma] = {"base": lemma, **names}
    for lemma in MORE_VERBS.split():
        if lemma not in verbs:
            verbs[lemma] = {"base": lemma, **regular(lemma)}
    for lemma, names in verbs.items():
        for form, words in names.items():
            for word in words.split("/"):
                if word:
                    inflected[word].append((form, lemma))
    return verbs, inflected


def regular(verb: str) -> dict[str, str]:
    """The regular forms of a verb."""
    doubled = verb + verb[-1] if verb.endswith(("flip", "hop", "drop", "nap")) else verb
    stem = (
        verb[:-1] if verb.endswith("e") and not verb.endswith("ee") and not verb.endswith("oe") else doubled
    )
    third = verb + ("es" if verb.endswith(("s", "x", "ch", "sh")) else "s")
    return {"past": stem + "ed", "ing": stem + "ing", "third": third}


def classed(
    word: str,
    found: list[tuple[str, str]],
    verbs: dict[str, dict[str, str]],
    counts: dict[str, Counter[str]],
    animate: set[str],
) -> tuple[Kind, str] | None:
    """Class and lemma of a word, or None when the file need not name it (any unknown word is a noun)."""
    parts = dict(reversed(found))  # the first reading of a kind stands
    verb_form = next((f for f in ("ing", "base", "third", "past") if f in parts), None)
    noun = parts.get("noun") or parts.get("plural")
    own = counts.get(word, Counter())
    if verb_form is None:
        if "adv" in parts and own["adv"] >= max(own["noun"], own["adj"]):
            return Kind.ADVERB, word
        if "adj" in parts and own["adj"] >= own["noun"]:
            return Kind.ADJECTIVE, word
        if noun is None:
            return None
        plural = "noun" not in parts
        if noun in animate:
            return Kind.BEINGS if plural else Kind.BEING, noun
        if not plural and word.endswith("ing"):  # "pudding": any other unknown -ing is taken for a verb's
            return Kind.NOUN, word
        return (Kind.PLURAL, noun) if plural and plain_singular(word) != noun else None
    lemma = parts[verb_form]
    of_lemma = counts.get(lemma, Counter())
    if verb_form == "ing":
        return Kind.ING, lemma
    if verb_form == "past":
        rare = own["noun"] + own["adj"] + own["adv"] > 4 * of_lemma["verb"]
        return Kind.OTHER_OR_PAST if rare else Kind.PAST, lemma
    other = of_lemma["noun"] + of_lemma["adj"] + of_lemma["adv"]
    rare = of_lemma["verb"] < 0.12 * other  # "man", "dog", "table": verbs in the dictionary only
    if rare and of_lemma["adj"] + of_lemma["adv"] > of_lemma["noun"] and verb_form == "base":
        return Kind.ADJECTIVE, lemma
    living = lemma in animate
    if verb_form == "base":
        if lemma in MORE_VERBS.split():
            return Kind.BASE_OR_NOUN, lemma
        if noun is None and own["noun"] == 0 and other == 0:
            return Kind.BASE, lemma
        if rare and not (living and of_lemma["verb"] > 5):
            return Kind.BEING if living else Kind.NOUN_OR_BASE, lemma
        return (Kind.BASE_OR_BEING if living else Kind.BASE_OR_NOUN), lemma
    if noun is None and of_lemma["noun"] == 0:
        return Kind.THIRD_OR_PLURAL if lemma in MORE_VERBS.split() else Kind.THIRD, lemma
    if rare:
        return Kind.BEINGS if living else Kind.PLURAL_OR_THIRD, lemma
    return (Kind.THIRD_OR_BEINGS if living else Kind.THIRD_OR_PLURAL), lemma


if __name__ == "__main__":
    main(Path(sys.argv[1]))
