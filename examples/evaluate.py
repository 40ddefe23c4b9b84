"""Ask whether a reference does anything: measure ours, the base alone, and a control with another reference.

    python examples/evaluate.py [FOLDER]

Needs the extra `eval`. Trajectory fidelity needs 128 pixels or more: with the embedded model it is left out.
"""

import sys
from pathlib import Path

import echoreel

CLIP = "echoreel/assets/cartwheel.mp4"
PROMPT = "a person with grey hair in a yellow sweater and black trousers doing a cartwheel on a wooden floor"

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/evaluate")
reference = echoreel.ReferenceVideo.from_file(CLIP)
backwards = echoreel.ReferenceVideo(reference.frames[::-1].copy(), reference.fps, "a person stepping back")

pipe, adapter = echoreel.load_base(), echoreel.load_adapter()
for name, shown in {"base": [], "ours": [reference], "control": [backwards]}.items():
    result = echoreel.generate(PROMPT, shown, base=pipe, adapter=adapter, seed=5, steps=8)
    result.save(folder / f"{name}.mp4")

measured = echoreel.measure(folder, PROMPT, CLIP)
print("\n".join(measured.lines()))
