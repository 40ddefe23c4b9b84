"""Catalogues to rows: columns by their known names, paths inside the root, bad rows counted and left out."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from echoreel.library.sources.catalogues import CatalogueError, inside, read_catalogue


def rows_of(path: Path, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    batches, refused = read_catalogue(path, **options)
    rows = [row for batch in batches for row in batch.to_pylist()]
    return rows, refused.lines()


def test_webvids_columns_are_known(tmp_path: Path) -> None:
    path = tmp_path / "results_10M_val.csv"
    path.write_text(
        "videoid,contentUrl,duration,page_dir,name\n"
        '21179416,https://ak.example/21179416.mp4,PT00H00M11S,006001_006050,"Aerial shot, ""winter"""\n'
    )
    rows, lines = rows_of(path)
    assert lines == []
    assert rows[0] == {
        "root": "",
        "path": "https://ak.example/21179416.mp4",
        "caption": 'Aerial shot, "winter"',
        "start": None,
        "end": None,
    }


def test_openvids_columns_are_known(tmp_path: Path) -> None:
    path = tmp_path / "OpenVid-1M.csv"
    path.write_text("video,caption,aesthetic score,seconds\nclip_0.mp4,a man is walking,5.1,4.0\n")
    rows, _ = rows_of(path)
    assert (rows[0]["root"], rows[0]["path"]) == (tmp_path.as_posix(), "clip_0.mp4")
    assert rows_of(path, root=tmp_path / "videos")[0][0]["root"] == (tmp_path / "videos").as_posix()


def test_parquet_and_json_lines_say_the_same(tmp_path: Path) -> None:
    table = {"path": ["a.mp4", "b.mp4"], "text": ["one", None], "start": [1.5, None], "end": ["0:01:05", "x"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    lines = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\nnot json\n[1]\n")
    rows, why = rows_of(tmp_path / "a.parquet")
    assert rows == [
        {"root": tmp_path.as_posix(), "path": "a.mp4", "caption": "one", "start": 1.5, "end": 65.0}
    ]
    assert why == ["1 rows without a caption (the first: row 2, 'b.mp4')"]
    again, why = rows_of(tmp_path / "a.jsonl")
    assert again == rows
    assert why[0].startswith("2 rows that are not JSON objects")


@pytest.mark.parametrize(
    "place",
    [
        "../secret.mp4",
        "a/../../b.mp4",
        "/etc/passwd",
        "~/x.mp4",
        "C:\\x.mp4",
        "..\\x",
        "file:///a",
        "ftp://a/b",
    ],
)
def test_a_path_that_leads_out_is_left_out(tmp_path: Path, place: str) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"path": place, "caption": "x"}) + "\n" + json.dumps({"path": "in.mp4", "caption": "y"})
    )
    rows, why = rows_of(tmp_path / "a.jsonl")
    assert [row["path"] for row in rows] == ["in.mp4"]
    assert why == [f"1 rows whose path leads out of its folder (the first: row 1, {place!r})"]


def test_an_absolute_path_inside_the_root_is_a_path_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"file,caption\n{tmp_path}/sub/a.mp4,x\n")
    assert rows_of(tmp_path / "a.csv")[0][0]["path"] == "sub/a.mp4"


def test_a_link_that_leads_out_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.mp4").touch()
    (tmp_path / "root" / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(CatalogueError, match="points outside"):
        inside(tmp_path / "root", "link.mp4")
    assert inside(tmp_path / "root", "a/b.mp4") == (tmp_path / "root" / "a/b.mp4").resolve()


def test_broken_rows_and_bytes_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b"path,caption\na.mp4,caf\xe9 scene\nb.mp4\nc.mp4,x,y\nd.mp4, two\tspaces  here \n"
    )
    rows, why = rows_of(tmp_path / "a.csv")
    assert [row["caption"] for row in rows] == ["caf\u00e9 scene", "two spaces here"]
    assert why[0].startswith("read as Windows-1252")
    assert why[1] == "2 rows with another number of columns than the first line (the first: row 3, 'b.mp4')"


def test_what_is_no_catalogue_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,what\n1,2\n")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "c.csv").touch()
    with pytest.raises(CatalogueError, match="no column that is known as caption in who, what; name it with"):
        read_catalogue(tmp_path / "a.csv")
    assert rows_of(tmp_path / "a.csv", columns={"caption": "what", "location": "who"})[0][0]["caption"] == "2"
    with pytest.raises(CatalogueError, match="no column 'nope'; it has who, what"):
        read_catalogue(tmp_path / "a.csv", columns={"caption": "nope", "location": "who"})
    with pytest.raises(CatalogueError, match=r"b\.parquet: cannot be read"):
        read_catalogue(tmp_path / "b.parquet")
    with pytest.raises(CatalogueError, match="an empty file"):
        read_catalogue(tmp_path / "c.csv")
    with pytest.raises(CatalogueError, match="no such file"):
        read_catalogue(tmp_path / "d.csv")
