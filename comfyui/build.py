"""Build the node pack: python comfyui/build.py ComfyUI/custom_nodes

Writes the folder `echoreel` there. It needs nothing but ComfyUI: the few modules of EchoReel that the method
needs are copied into `core`, and their imports made relative. This script needs the standard library alone.
"""

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NAME = "echoreel"
MODULES = (
    *(f"common/{name}" for name in ("attention", "checksums", "errors", "files", "loading_errors", "places")),
    *(f"common/{name}" for name in ("settings", "text")),
    *(f"media/{name}" for name in ("drawing", "images", "moving_crop", "reference_file", "reference_times")),
    *(f"method/{name}" for name in ("adapter_sizes", "compact_prism", "dense_prism", "integration", "prism")),
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "build.py", "core")
OURS = re.compile(r"^(\s*)from echoreel\.", re.MULTILINE)


def build(place: Path) -> Path:
    """Write the pack into a folder of packs, in place of an older one; returns its folder.

    Raises ValueError for a place that is no folder, or that has another folder of this name.
    """
    target = place / NAME
    if not place.is_dir():
        raise ValueError(f"{place}: there is no such folder; give ComfyUI's custom_nodes")
    if target.exists() and not (target / "joining.py").is_file():
        raise ValueError(f"{target}: is there, and is no pack of ours; move it away")
    fresh = place / f".{NAME}.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(HERE, fresh, ignore=LEFT_OUT)
    for path in fresh.glob("*.py"):
        path.write_text(OURS.sub(r"\1from .core.", path.read_text(encoding="utf-8")), encoding="utf-8")
    for module in MODULES:
        source = ROOT / "echoreel" / f"{module}.py"
        copy = fresh / "core" / f"{module}.py"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(OURS.sub(r"\1from ..", source.read_text(encoding="utf-8")), encoding="utf-8")
    for name in ("LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, fresh / name)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return target


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(f"wrote {build(Path(sys.argv[1]))}; restart ComfyUI")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
