"""Read two references at once, each with a strength of its own.

    python examples/several_references.py CLIP.mp4 CLIP.mp4 [OUT.mp4]

Without clips it takes two parts of the one in the package.
"""

import sys

import echoreel

CLIP = "echoreel/assets/cartwheel.mp4"
PROMPT = "a person with black hair in a green sweater and white trousers doing a cartwheel on a dark stage"

clips = sys.argv[1:3]
out = sys.argv[3] if len(sys.argv) > 3 else "outputs/two-references.mp4"
if clips:
    references = [echoreel.ReferenceVideo.from_file(clip) for clip in clips]
else:
    references = [
        echoreel.ReferenceVideo.from_file(CLIP, strength=1.0),
        echoreel.ReferenceVideo.from_file(CLIP, start=0.25, strength=0.5),
    ]

result = echoreel.generate(PROMPT, references, seed=3, steps=8, scale=1.1)
for read in result.references:
    print(f"strength {read.strength:g}: {read.describe()}")
print(*result.save(out), sep="\n")
