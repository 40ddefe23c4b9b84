"""Pairs encoded by workers of Ray, on one machine or many: each takes shards, as other processes do."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from echoreel.bases.sketch import only_autoencoder
from echoreel.common.errors import EchoReelError
from echoreel.common.ray_workers import ray_workers
from echoreel.training.encode_pairs import Encoded, Preparation, Prepared
from echoreel.training.pair_shards import PairSetError
from echoreel.training.prepare_settings import PrepareSettings


def prepare_with_ray(
    base: tuple[str | None, str | None],
    manifest: Path,
    folder: Path,
    settings: PrepareSettings,
    root: Path | None = None,
    workers: int = 2,
) -> Prepared:
    """As `prepare_pairs`, by a worker for each GPU that Ray has; without any by so many, or one a machine.

    All must see the folders under the same names. Ray gives what a dead worker had to another one.

    Args:
        base: its name and its parts', as `only_autoencoder` takes them.

    Raises MissingExtra without Ray, and as `prepare_pairs`; of a worker, PairSetError.
    """
    place = {"manifest": manifest.absolute(), "folder": folder.absolute()}
    task = {
        "base": tuple(str(Path(name).absolute()) if name and Path(name).exists() else name for name in base),
        "root": (root or manifest.parent).absolute(),
        "settings": settings.model_dump_json(),
        **place,
    }
    with ray_workers(workers) as ray:
        work, done = Preparation(only_autoencoder(*base), manifest, folder, settings, root), Encoded()
        gpus = int(ray.cluster_resources().get("GPU", 0))
        pool = ray.data.ActorPoolStrategy(size=gpus or max(workers, len(ray.nodes())))
        rows = [{"number": number} for number in work.shards]
        shards = ray.data.from_items(rows, override_num_blocks=len(rows))  # workers take a block at a time
        encoded = shards.map(_Worker, fn_constructor_args=[task], compute=pool, num_gpus=1 if gpus else None)
        with work.undone():
            for row in encoded.iter_rows():
                if row["error"]:
                    raise PairSetError(row["error"])
                done.add(Encoded(**row["encoded"]))
            return work.finish(done)


class _Worker:
    """Loads the autoencoder once, then encodes shards."""

    def __init__(self, task: dict[str, Any]) -> None:
        settings = PrepareSettings.model_validate_json(task["settings"])
        base = only_autoencoder(*task["base"])
        self._work = Preparation(base, task["manifest"], task["folder"], settings, task["root"])

    def __call__(self, row: dict[str, int]) -> dict[str, Any]:
        try:
            encoded = self._work.encode(row["number"], wait=True)
        except EchoReelError as error:
            return {"encoded": asdict(Encoded()), "error": str(error)}
        return {"encoded": asdict(encoded or Encoded()), "error": ""}
