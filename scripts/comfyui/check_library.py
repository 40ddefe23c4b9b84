"""Find in Library, executed, over a library of one reference file: python check_library.py"""

import os
import tempfile
from pathlib import Path

import comfy_env as env  # first: it finds ComfyUI

# isort: split
import numpy as np
import pytest

import comfyui.nodes as nodes
from echoreel.common.errors import EchoReelError
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.media.reference_video import ReferenceVideo

video = env.ROOT / "echoreel/assets/cartwheel.mp4"
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    ReferenceVideo.from_file(video, "a man doing a cartwheel").save("cartwheel.safetensors")
    ReferenceLibrary.open("library", create=True, embedder="none").add(
        [Path("cartwheel.safetensors")], quiet=True
    )
    images, fps, caption = nodes.EchoReelFindInLibrary.execute("library", "a woman doing a cartwheel", 1).args
    taken = ReferenceVideo.load("cartwheel.safetensors")
    assert ((images.numpy() * 255).round() == taken.frames).all()
    assert (fps, caption) == (8.0, "a man doing a cartwheel")
    print(f"ComfyUI {env.VERSION}: found {np.shape(images)} at {fps} fps, {caption!r}")
    for place, prompt, number in (
        ("none", "x", 1),
        ("library", "a dog swimming", 1),
        ("library", "a cartwheel", 2),
        ("", "x", 1),
    ):
        with pytest.raises(EchoReelError) as caught:
            nodes.EchoReelFindInLibrary.execute(place, prompt, number)
        print(f"  {place!r}, {prompt!r}, {number}: {caught.value}")
