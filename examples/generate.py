"""Make a video with the action of one reference clip, and beside it the base's own for comparison.

    python examples/generate.py [OUT.mp4]

Takes some seconds with the embedded model. Change `base` and `adapter` for a model of yours.
"""

import sys

import echoreel

CLIP = "echoreel/assets/cartwheel.mp4"
PROMPT = "a person with brown hair in a red sweater and blue trousers doing a cartwheel on a grassy field"

out = sys.argv[1] if len(sys.argv) > 1 else "outputs/cartwheel.mp4"
reference = echoreel.ReferenceVideo.from_file(CLIP)
print(reference.describe())

result = echoreel.generate(PROMPT, reference, seed=7, steps=8, compare=True)
print(result.summary())
print(*result.save(out), *result.save_comparison(out), sep="\n")
