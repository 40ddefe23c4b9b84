"""Write echoreel/weights/sums.json, the checksums of the packaged weights: run it after each change of them.

python scripts/weight_sums.py
"""

import json

from echoreel.common.checksums import SUMS, packaged_sums
from echoreel.common.files import write_atomic
from echoreel.common.places import WEIGHTS

if __name__ == "__main__":
    write_atomic(WEIGHTS / SUMS, (json.dumps(packaged_sums(), indent=1) + "\n").encode())
