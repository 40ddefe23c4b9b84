"""Use a diffusers pipeline of your own, step by step: attach, set references, call, detach.

    python examples/own_base.py [BASE] [ADAPTER]

BASE is a folder or hub id, such as Lightricks/LTX-Video; ADAPTER one that was trained for it. Without them
the embedded ones are used.
"""

import sys

import echoreel

CLIP = "echoreel/assets/cartwheel.mp4"
PROMPT = "a person with blond hair in a purple sweater and white trousers doing a cartwheel in a desert"

base, adapter_name = (*sys.argv[1:3], None, None)[:2]
pipe = echoreel.load_base(base)  # or any pipeline from DiffusionPipeline.from_pretrained(...)
adapter = echoreel.load_adapter(adapter_name)

adapter.attach(pipe)
adapter.set_references([echoreel.ReferenceVideo.from_file(CLIP)], prompt=PROMPT)
adapter.set_scale(1.0)  # 0 is the base alone
adapter.set_window(0.0, 0.8)  # let the base finish details by itself
frames = pipe(PROMPT, num_inference_steps=8).frames[0]  # the pipeline's own call
print(f"with the reference: {len(frames)} frames of {frames[0].size}")

adapter.clear_references()
alone = pipe(PROMPT, num_inference_steps=8).frames[0]
print(f"without: {len(alone)} frames")
adapter.detach()  # the base is now bit for bit what it was
