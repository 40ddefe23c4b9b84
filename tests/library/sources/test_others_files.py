"""Files as others write them: encodings, layouts, odd and hostile values. What cannot be used is told, never
fatal, and costs no other row or video."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.make_videos import film
from helpers.video_folders import moving

from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources.added import Added
from echoreel.library.sources.captions import FolderCaptions, Said, beside
from echoreel.library.sources.catalogues import CatalogueError, read_catalogue
from echoreel.library.tables import LibraryError

RUN, DANCE = "a man is running", "a woman is dancing"
CUE = "1\n00:00:00,000 --> 00:00:03,000\n"
BOTH = [("a.mp4", RUN), ("b.mp4", DANCE)]


def write(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return path


def catalogue(folder: Path, name: str, data: str | bytes, **options: Any) -> tuple[list[Any], str]:
    """(path, caption) of each row, those with times as (path, caption, start, end), and what is told."""
    batches, refused = read_catalogue(write(folder / name, data), **options)
    rows = [row for batch in batches for row in batch.to_pylist()]
    keys = ("path", "caption", "start", "end")
    found = [tuple(row[key] for key in (keys if row["end"] or row["start"] else keys[:2])) for row in rows]
    return found, "\n".join(refused.lines())


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


PLAIN_CSV = f"path,caption\na.mp4,{RUN}\nb.mp4,{DANCE}\n"
SAME: dict[str, tuple[str, str | bytes, str]] = {  # name of the file, its data, what is told of it
    "semicolons": ("c.csv", PLAIN_CSV.replace(",", ";"), ""),
    "tabs in .csv": ("c.csv", PLAIN_CSV.replace(",", "\t"), ""),
    "commas in .tsv": ("c.tsv", PLAIN_CSV, ""),
    "bars": ("c.csv", PLAIN_CSV.replace(",", "|"), ""),
    "Excel's sep line": ("c.csv", "sep=;\r\n" + PLAIN_CSV.replace(",", ";"), ""),
    "CR alone": ("c.csv", PLAIN_CSV.replace("\n", "\r"), ""),
    "UTF-16 with a mark": ("c.csv", PLAIN_CSV.encode("utf-16"), ""),
    "UTF-16 without": ("c.csv", PLAIN_CSV.encode("utf-16-be"), "read as UTF-16, though"),
    "UTF-32": ("c.csv", PLAIN_CSV.encode("utf-32"), ""),
    "BOM": ("c.csv", b"\xef\xbb\xbf" + PLAIN_CSV.encode(), ""),
    "BOM twice": ("c.csv", b"\xef\xbb\xbf" * 2 + PLAIN_CSV.encode(), ""),
    "upper case suffix and columns": ("C.CSV", PLAIN_CSV.replace("path,caption", "Path,CAPTION"), ""),
    "empty columns at the end": ("c.csv", PLAIN_CSV.replace("\n", ",,\n"), ""),
    "empty lines": ("c.csv", "\n\n" + PLAIN_CSV.replace("\n", "\n\n"), ""),
    "U+2028": ("c.csv", PLAIN_CSV.replace("is ", "is\u2028"), ""),
    "NEL and nbsp": ("c.csv", PLAIN_CSV.replace("is ", "is\x85\xa0"), ""),
    "a huge value of no use": (
        "c.csv",
        f"x,path,caption\n{'9' * 300_000},a.mp4,{RUN}\n1,b.mp4,{DANCE}\n",
        "",
    ),
    "a quote that is not closed": (
        "c.csv",
        f'path,caption\na.mp4,{RUN}\nx.mp4,"a cat\nb.mp4,{DANCE}\n',
        "(the first: row 3, 'x.mp4,\"a cat')",
    ),
    "one closed by the next row": (
        "c.csv",
        f'path,caption\nx.mp4,"a cat\na.mp4,"{RUN}"\nb.mp4,{DANCE}\n',
        "1 rows with another number of columns than the first line (the first: row 2",
    ),
    "VideoX-Fun": (
        "c.json",
        json.dumps(
            [
                {"file_path": "a.mp4", "text": RUN, "type": "video"},
                {"file_path": "a.jpg", "text": "a cat", "type": "image"},
                {"file_path": "b.mp4", "text": DANCE, "type": "video"},
            ]
        ),
        "1 rows of an image",
    ),
    "JSON lines named .json": ("c.json", lines(*({"path": p, "text": t} for p, t in BOTH)), ""),
    "a list in an object": ("c.json", json.dumps({"data": [{"path": p, "text": t} for p, t in BOTH]}), ""),
    "JSON with a BOM": ("c.json", "\ufeff" + json.dumps([{"path": p, "text": t} for p, t in BOTH]), ""),
    "odd JSON lines": (
        "c.jsonl",
        lines({"path": "a.mp4", "text": RUN})
        + f'{"[" * 60_000}\n{{"path": {"9" * 5000}\n{{"path": null, "text": "x"}}\n[1]\nnull\n'
        + lines({"path": "b.mp4", "text": DANCE}),
        "4 rows that are not JSON objects",
    ),
    "backslashes": ("c.csv", PLAIN_CSV.replace("a.mp4", ".\\a.mp4").replace(".\\", ""), ""),
    "quotes that never close": (
        "c.csv",
        PLAIN_CSV + 'a"b,"c\n' * 20_000,
        "20000 rows with another number of columns",
    ),
    "40 MB on one line": (
        "c.csv",
        PLAIN_CSV.replace("b.mp4", f"x.mp4,{'x' * 40_000_000}\nb.mp4"),
        "1 rows longer",
    ),
    "a mark inside": ("c.csv", PLAIN_CSV.replace("b.mp4", "\ufeffb.mp4"), ""),
    "odd values in a list": (
        "c.json",
        json.dumps([1, None, [], {"path": {}, "text": {}}, *({"path": p, "text": t} for p, t in BOTH)]),
        "3 rows that are not JSON objects (the first: row 1, '1')",
    ),
    "a half character in a place": (
        "c.jsonl",
        '{"path": "\\ud800.mp4", "text": "x"}\n' + lines(*({"path": p, "text": t} for p, t in BOTH)),
        "1 rows whose place is not text (the first: row 1",
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_a_table_is_read_whoever_wrote_it(case: str, tmp_path: Path) -> None:
    name, data, told = SAME[case]
    rows, why = catalogue(tmp_path, name, data)
    assert rows == BOTH
    assert told in why if told else why == ""


TIMES = {
    **{"5": 5.0, "0:01:05.5": 65.5, "1e1": 10.0, "nan": None, "": None, "null": None, "\u0663": 3.0},
    **dict.fromkeys(["inf", "-1", "1e308", "1e999", "9" * 5000, "x", "1:2:3:4", "0x10", "1e6000"], "no"),
}


@pytest.mark.parametrize("text", TIMES)
def test_times_that_cannot_be_leave_out_their_row_alone(text: str, tmp_path: Path) -> None:
    rows, why = catalogue(
        tmp_path, "c.csv", f"path,caption,start,end\na.mp4,{RUN},{text},100\nb.mp4,{DANCE},,\nc.mp4,x,5,5\n"
    )
    right = [] if TIMES[text] == "no" else [("a.mp4", RUN, TIMES[text], 100.0)]
    assert rows == [*right, BOTH[1]]
    assert why.startswith(f"{2 - len(right)} rows with impossible times (the first: row {2 + 2 * len(right)}")
    number = text if re.fullmatch(r"[0-9.e]+", text) else json.dumps(text)
    rows, why = catalogue(tmp_path, "c.json", f'[{{"path": "a.mp4", "text": "x", "start": {number}}}]')
    assert bool(rows) == (TIMES[text] != "no")


def test_kinetics_names_are_found_as_parts_or_whole(tmp_path: Path) -> None:
    table = "label,youtube_id,time_start,time_end\nriding,abc,10,20\njogging,def,3,13\nx,gone,1,2\n"
    for name in ("riding/abc_000010_000020.mp4", "def.mkv"):
        write(tmp_path / name, "")
    rows, why = catalogue(tmp_path, "val.csv", table)
    assert rows == [("riding/abc_000010_000020.mp4", "riding"), ("def.mkv", "jogging", 3.0, 13.0)]
    assert f"1 rows whose video is not below {tmp_path}; give its folder with --root" in why
    write(tmp_path / "captions.csv", table)
    captions = FolderCaptions(tmp_path)
    assert captions.of(tmp_path / "riding/abc_000010_000020.mp4") == [Said("riding")]
    assert captions.of(tmp_path / "def.mkv") == [Said("jogging", 3, 13)]


def test_msr_vtt_something_something_and_activitynet(tmp_path: Path) -> None:
    for name in ("TrainValVideo/video0.mp4", "78687.webm", "v_x.mp4"):
        write(tmp_path / name, "")
    sentences = [{"caption": text, "video_id": "video0", "sen_id": 0} for text in (RUN, DANCE)]
    videos = [{"video_id": f"video{number}", "url": "https://x", "start time": 137.7} for number in (0, 1)]
    rows, why = catalogue(
        tmp_path, "v.json", json.dumps({"info": {}, "videos": videos, "sentences": sentences})
    )
    assert rows == [("TrainValVideo/video0.mp4", RUN), ("TrainValVideo/video0.mp4", DANCE)]
    assert why == "1 rows without a caption (the first: row 3, 'video1')"
    entry = {
        "id": "78687",
        "label": "holding potato",
        "template": "Holding [something]",
        "placeholders": ["p"],
    }
    assert catalogue(tmp_path, "s.json", json.dumps([entry])) == ([("78687.webm", "holding potato")], "")
    net = {"v_x": {"duration": 9, "timestamps": [[0, 4], [4, 9]], "sentences": [RUN, DANCE]}}
    rows, _ = catalogue(tmp_path, "net.json", json.dumps(net))
    assert rows == [("v_x.mp4", RUN, 0.0, 4.0), ("v_x.mp4", DANCE, 4.0, 9.0)]
    assert catalogue(tmp_path, "m.json", json.dumps({"v_x": [RUN, DANCE]}))[0] == [
        ("v_x.mp4", RUN),
        ("v_x.mp4", DANCE),
    ]


def test_paths_are_those_of_this_disk(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "cafe\u0301.mp4", "")
    rows, _ = catalogue(tmp_path, "c.csv", f"path,caption\nsub\\caf\u00e9.mp4,{RUN}\n")
    assert rows == [("sub/cafe\u0301.mp4", RUN)]
    write(tmp_path / "metadata.csv", f"file_name,caption\n.\\sub\\caf\u00e9.MP4,{RUN}\n")
    assert FolderCaptions(tmp_path).of(tmp_path / "sub" / "cafe\u0301.mp4") == [Said(RUN)]


def test_long_captions_are_cut_and_told(tmp_path: Path) -> None:
    rows, why = catalogue(tmp_path, "c.csv", f"path,caption\na.mp4,{'x' * 200_000}\nb.mp4,{DANCE}\n")
    assert [len(row[1]) for row in rows] == [4000, len(DANCE)]
    assert "1 rows whose caption was cut to 4000 characters (the first: row 2" in why
    told: list[str] = []
    write(tmp_path / "a.txt", "x" * 5000)
    assert len(beside(tmp_path / "a.mp4", lambda place, why, count: told.append(why))[0].text) == 4000
    assert told == ["whose caption was cut to 4000 characters"]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("plain", lambda: pa.table({"path": ["a.mp4"] * 64, "caption": ["x" * 2**21] * 64})),
        ("rows", lambda: pa.table({"path": ["a.mp4"] * 3_000_000, "caption": [RUN] * 3_000_000})),
    ],
)
def test_a_small_parquet_file_of_great_cost_is_refused(
    name: str, table: Callable[[], pa.Table], tmp_path: Path
) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(table(), path, compression="zstd", use_dictionary=name != "plain")
    with pytest.raises(CatalogueError, match="this is not a table of captions"):
        read_catalogue(path)


def test_equal_long_values_of_parquet_are_cut_before_they_are_unpacked(tmp_path: Path) -> None:
    captions = pa.DictionaryArray.from_arrays(pa.array([0] + [1] * 4000), pa.array([DANCE, "x" * 2**20]))
    table = pa.table({"path": [f"{n}.mp4" for n in range(4001)], "caption": captions})  # 4 GB unpacked
    pq.write_table(table, path := tmp_path / "c.parquet")
    batches, refused = read_catalogue(path)
    assert sum(map(len, batches)) == 4001
    assert "4000 rows whose caption was cut" in refused.lines()[0]
    assert pa.default_memory_pool().max_memory() < 2**30


def test_equal_values_of_parquet_that_are_written_in_full_are_refused(tmp_path: Path) -> None:
    table = pa.table({"path": ["x" * 1990 + ".mp4"] * 100_000, "caption": [RUN + "a" * 3_900] * 100_000})
    pq.write_table(table, path := tmp_path / "c.parquet", compression="zstd")  # 600 MB
    assert path.stat().st_size < 100_000
    batches, _ = read_catalogue(path)
    with pytest.raises(CatalogueError, match="bytes of text or more; this is not a table of captions"):
        list(batches)
    lists = pa.table(
        {"path": ["a.mp4"] * 10, "caption": [[f"{RUN} {n} {'b' * 900}" for n in range(2_000)]] * 10}
    )
    pq.write_table(lists, path)
    batches, refused = read_catalogue(path)
    assert sum(map(len, batches)) == 20_000
    assert not refused.lines()


@pytest.mark.parametrize("of", [lambda n: f"{RUN} {n}", lambda n: [f"{RUN} {n}", DANCE]])
def test_small_parts_of_parquet_are_read_together(of: Callable[[int], Any], tmp_path: Path) -> None:
    """Streams are written a row at a time: each part alone takes some milliseconds."""
    table = pa.table({"path": ["a.mp4"] * 2_000, "caption": [of(n) for n in range(2_000)]})
    pq.write_table(table, path := tmp_path / "c.parquet", row_group_size=1)
    (batch,) = read_catalogue(path)[0]
    said = [[text] if isinstance(text, str) else text for text in table["caption"].to_pylist()]
    assert batch.column("caption").to_pylist() == [text for texts in said for text in texts]


def test_parquet_of_several_captions_and_of_what_is_no_text(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"path": ["a.mp4", "x.mp4", "b.mp4"], "caption": [[RUN, DANCE], [], [DANCE]]}),
        path := tmp_path / "c.parquet",
    )
    rows = [row for batch in read_catalogue(path)[0] for row in batch.to_pylist()]
    assert [(row["path"], row["caption"]) for row in rows] == [
        ("a.mp4", RUN),
        *[(x, DANCE) for x in ("a.mp4", "b.mp4")],
    ]
    pq.write_table(pa.table({"path": ["a"], "caption": [{"x": 1}]}), path)
    with pytest.raises(CatalogueError, match="column caption is of struct"):
        read_catalogue(path)


BESIDE: dict[str, tuple[str, str | bytes, list[Said], str]] = {  # file beside v.mp4, data, what is said, told
    "upper case": ("v.TXT", RUN, [Said(RUN)], ""),
    "after the whole name": ("v.mp4.txt", RUN, [Said(RUN)], ""),
    "UTF-16": ("v.txt", RUN.encode("utf-16"), [Said(RUN)], ""),
    "Windows-1252": ("v.txt", b"a caf\xe9", [Said("a caf\u00e9")], "read as Windows-1252"),
    "damaged UTF-8": (
        "v.txt",
        b"a caf\xc3\xa9 \xff",
        [Said("a caf\u00e9 \ufffd")],
        "some bytes are not UTF-8",
    ),
    "right to left": (
        "v.txt",
        "\u0631\u062c\u0644 \u064a\u0631\u0643\u0636",
        [Said("\u0631\u062c\u0644 \u064a\u0631\u0643\u0636")],
        "",
    ),
    "a null byte": ("v.txt", "a\0b", [Said("a\ufffdb")], ""),
    "several": ("v.json", json.dumps({"captions": [RUN, DANCE]}), [Said(RUN), Said(DANCE)], ""),
    "parts": (
        "v.json",
        json.dumps([{"caption": RUN, "start": 0, "end": 2}, {"caption": "x", "start": "nan", "end": -1}]),
        [Said(RUN, 0, 2)],
        "1 entries with impossible times",
    ),
    "half a character": ("v.json", '{"caption": "a \\ud800 b"}', [Said("a \ufffd b")], ""),
    "nested JSON": ("v.json", "[" * 60_000, [], "not JSON (nested too deep)"),
    "a long number": ("v.json", f'{{"caption": "{RUN}", "n": {"9" * 5000}}}', [Said(RUN)], ""),
    "no captions": ("v.json", '{"boxes": [1, 2]}', [], "holds no caption"),
    "vtt": (
        "v.vtt",
        f"WEBVTT\n\nNOTE x\n\nme\n00:01.000 --> 00:03.000 align:start\n<v Bob>{RUN} &amp; jumping\n\nNOTE",
        [Said(f"{RUN} & jumping", 1, 3)],
        "",
    ),
    "a language": ("v.en.srt", CUE + RUN, [Said(RUN, 0, 3)], ""),
    "UTF-16 subtitles": ("v.srt", (CUE + RUN).encode("utf-16"), [Said(RUN, 0, 3)], ""),
    "CR and tags": ("v.srt", f"{CUE}{{\\an8}}<i>{RUN}</i>".replace("\n", "\r"), [Said(RUN, 0, 3)], ""),
    "no numbers, dots": ("v.srt", f"00:00:00.0 --> 00:00:03.0\n{RUN}", [Said(RUN, 0, 3)], ""),
    "an end before its start": (
        "v.srt",
        f"{CUE}{RUN}\n\n2\n0:0:9,0 --> 0:0:4,0\nx",
        [Said(RUN, 0, 3)],
        "1 cues end before",
    ),
    "long hours": ("v.srt", CUE.replace("00:00:00,", "9" * 400 + ":00:00,") + RUN, [], "1 cues end before"),
    "no hours": ("v.vtt", f"WEBVTT\n\n:00:00.000 --> :00:03.000\n{RUN}", [Said(RUN, 0, 3)], ""),
    "digits": ("v.srt", "1" * 65_000, [], "holds no caption"),
    "open tags": ("v.srt", CUE + RUN + "<a" * 500_000, [Said(RUN + "\u2039a" * 1992, 0, 3)], ""),
    "long gaps": ("v.srt", CUE + RUN + "\n" * 500_000 + "x", [Said(f"{RUN} x", 0, 3)], ""),
    "open brackets": ("v.srt", CUE + RUN + "{" * 500_000, [Said(RUN, 0, 3)], ""),
    "a long entity": (
        "v.srt",
        f"{CUE}{RUN} &#{'9' * 5000};",
        [Said(f"{RUN} &#{'9' * 5000}"[:4000], 0, 3)],
        "",
    ),
    "over 2 MiB": ("v.srt", CUE + "x" * 2**21, [], "at most 2097152 are read"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_a_caption_file_says_what_it_says_and_what_is_wrong_is_told(case: str, tmp_path: Path) -> None:
    name, data, right, told = BESIDE[case]
    write(tmp_path / name, data)
    problems: list[str] = []
    began = time.process_time()
    said = beside(tmp_path / "v.mp4", lambda place, why, count: problems.append(why))
    assert said == right
    assert told in " ".join(problems) if told else problems == []
    assert time.process_time() - began < 5


def test_other_languages_give_way(tmp_path: Path) -> None:
    for name, text in (("v.de.srt", "ein Mann"), ("v.en.srt", RUN), ("v.fr.srt", "un homme")):
        write(tmp_path / name, CUE + text)
    assert beside(tmp_path / "v.mp4") == [Said(RUN, 0, 3)]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return film(tmp_path_factory.mktemp("good") / "v.mp4", moving(1)).read_bytes()


def add(library: Path, *sources: Path) -> tuple[Added, set[str], str]:
    """What came of it, the captions in the library, and all that was told."""
    found = ReferenceLibrary.open(library, create=True, embedder="none")
    added = found.add([*sources], quiet=True)
    told = "\n".join(f"{os.path.basename(place)}: {why}" for place, why in added.problems)
    return added, {clip.caption for clip in found.clips()}, told


def test_odd_files_in_a_folder_cost_no_other(tmp_path: Path, good: bytes) -> None:
    folder = tmp_path / "v"
    write(folder / "man_running.mp4", good)
    os.mkfifo(folder / "man_running.txt")
    write(folder / "man_running.json", "[" * 60_000)
    write(folder / "captions.jsonl", "[" * 60_000)
    os.mkfifo(folder / "metadata.csv")
    (folder / "metadata.json").mkdir()
    (folder / "self.mp4").symlink_to(folder / "self.mp4")
    (folder / "round").symlink_to(folder)
    write(folder / "x.mp4" / "CAT_SLEEPING.MOV", good + b"x")
    write(Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.mp4")), good + b"y")
    write(Path(os.fsdecode(os.fsencode(folder) + b"/bad\xfe/z.mp4")), good + b"z")
    for name in (".hidden.mp4", "photo.jpg", "README", "alone.txt", "clips.csv", ".cache/x.mp4"):
        write(folder / name, "")
    added, captions, told = add(tmp_path / "library", folder)
    assert captions == {"man running", "cat sleeping"}
    assert added.left_out == 3
    for name, why in {
        "man_running.txt": "this is a pipe or a device",
        "man_running.json": "not JSON",
        "captions.jsonl": "holds no rows",
        "metadata.csv": "this is a pipe or a device",
        "metadata.json": "this is a folder",
        "self.mp4": "cannot be read",
        "round": "read by another name",
        "bad\udcff.mp4": "not UTF-8",
        "z.mp4": "not UTF-8",
        ".hidden.mp4": "hidden files",
        "photo.jpg": "not named as a video (.jpg)",
        "README": "not named as a video (no suffix)",
        "alone.txt": "no video of this name",
        "clips.csv": "a table beside videos",
        ".cache": "hidden folders",
    }.items():
        assert re.search(rf"^{re.escape(name)}: .*{re.escape(why)}", told, re.MULTILINE), (name, told)


def test_all_captions_of_a_video_count_and_those_of_one_keep_its_id(tmp_path: Path, good: bytes) -> None:
    one, three = tmp_path / "one", tmp_path / "three"
    for folder in (one, three):
        write(folder / "v.mp4", good)
    write(one / "v.txt", RUN)
    rows = [{"file_name": "v.mp4", "caption": text} for text in (RUN, None, DANCE, RUN, "a cat is sleeping")]
    write(three / "metadata.jsonl", lines(*rows, {"file_name": "gone.mp4", "caption": "x"}))
    add(tmp_path / "1", one)
    added, captions, told = add(tmp_path / "3", three)
    assert (added.clips, captions) == (3, {RUN, DANCE, "a cat is sleeping"})
    assert "1 rows without a caption (the first: row 2, 'v.mp4')" in told
    assert "gone.mp4: a table has its caption, but there is no such video" in told
    (single,) = ReferenceLibrary.open(tmp_path / "1").clips()
    clips = ReferenceLibrary.open(tmp_path / "3").clips()
    assert {clip.video for clip in clips} == {single.video}
    assert single.id in {clip.id for clip in clips}
    assert add(tmp_path / "3", three)[0].clips == 0


def test_a_catalogues_captions_all_count_in_whatever_order_they_come(tmp_path: Path) -> None:
    write(tmp_path / "one.csv", f"path,caption\nv.mp4,{DANCE}\n")
    write(tmp_path / "both.csv", f"path,caption\nv.mp4,{RUN}\nv.mp4,{DANCE}\nv.mp4,{RUN}\n")
    added, captions, _ = add(tmp_path / "library", tmp_path / "one.csv", tmp_path / "both.csv")
    assert (added.clips, added.known, captions) == (2, 2, {RUN, DANCE})
    for again in ("both.csv", "one.csv"):
        assert add(tmp_path / "library", tmp_path / again)[0].clips == 0
    assert add(tmp_path / "other", tmp_path / "library")[0].clips == 2


def test_a_source_of_a_name_that_is_no_text_is_told(tmp_path: Path, good: bytes) -> None:
    path = write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.mp4")), good)
    assert add(tmp_path / "library", path)[2].endswith("its name is not UTF-8; rename it")
    with pytest.raises((CatalogueError, LibraryError)):
        add(tmp_path / "library", write(tmp_path / "c.json", "[" * 60_000))
