"""Pairs encoded by two workers of Ray, one of which is killed."""

import json
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from helpers.make_videos import counting, film
from helpers.toy_models import toy_pipeline

from echoreel.training.encode_pairs import prepare_pairs
from echoreel.training.pair_shards import PairSetError, shards_in
from echoreel.training.prepare_settings import PrepareSettings

SETTINGS = PrepareSettings(buckets="auto", shard=1)


def workers() -> list[psutil.Process]:
    """Of this process, those that encode."""
    return [each for each in psutil.Process().children(recursive=True) if "MapWorker" in each.name()]


@pytest.mark.filterwarnings("ignore")  # of Ray about itself
def test_a_killed_workers_share_is_done_by_another_one(tmp_path: Path) -> None:
    if not find_spec("ray"):
        pytest.skip("needs ray")
    from echoreel.training.prepare_with_ray import prepare_with_ray

    manifest, folder, killed = tmp_path / "pairs.jsonl", tmp_path / "pairs", list[int]()
    toy_pipeline().save_pretrained(tmp_path / "base")
    rows = []
    for number in range(8):
        film(tmp_path / f"{number}.mp4", counting(16, 48, 64 if number % 2 else 32))
        reference = {"path": f"{(number + 2) % 8}.mp4"}
        rows.append({"target": f"{number}.mp4", "caption": "a man", "references": [reference]})
    manifest.write_text("\n".join(map(json.dumps, rows)))

    def kill() -> None:
        while not shards_in(folder) or not (found := workers()):
            time.sleep(0.01)
        killed.append(found[0].pid)
        found[0].kill()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    made = prepare_with_ray((str(tmp_path / "base"), None), manifest, folder, SETTINGS)
    assert (len(killed), len(made.pairs), made.left_out) == (1, 8, 0)
    prepare_pairs(toy_pipeline(), manifest, tmp_path / "alone", SETTINGS)
    for path in shards_in(tmp_path / "alone"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    manifest.write_text(manifest.read_text().replace("7.mp4", "8.mp4"))
    with pytest.raises(PairSetError, match=r"pairs\.jsonl line \d: .*8\.mp4"):
        prepare_with_ray((str(tmp_path / "base"), None), manifest, folder, SETTINGS)
