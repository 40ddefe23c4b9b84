"""Point EchoReel at videos once; it then finds clips of the action that a prompt asks for.

    python examples/library.py VIDEOS LIBRARY [OUT.mp4]

VIDEOS is a folder of clips with captions (`a.txt` beside `a.mp4`). LIBRARY is made, or added to.
Needs the extra `library`.
"""

import sys

import echoreel

PROMPT = "a woman with red hair in a blue sweater and black trousers doing a cartwheel on a snowy plain"

videos, place = sys.argv[1:3]
out = sys.argv[3] if len(sys.argv) > 3 else "outputs/from-library.mp4"

library = echoreel.ReferenceLibrary.open(place, create=True)
added = library.add([videos])
print(f"{added.clips} clips added")

for found in library.search(PROMPT, count=3).results:
    print(f"{found.score:.2f} {found.clip.caption} ({found.why})")

result = echoreel.generate(PROMPT, library=library, seed=1, steps=8)
if not result.references:
    print("nothing in the library matches; this is the base's own video")
print(*result.save(out), sep="\n")
