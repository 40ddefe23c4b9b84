"""A library of others: its rows choose neither the folders that are read nor the model that is loaded."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from helpers.make_videos import counting, film

from echoreel.common.errors import EchoReelError, OutputError, SettingsError
from echoreel.library.actions.text_embedder import load_embedder
from echoreel.library.permissions import Permissions
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import LibraryError, Store


def foreign(place: Path, root: Path, path: str) -> ReferenceLibrary:
    """A library made by somebody else, with one row that names this file."""
    store = Store(str(place), create=True)
    clip = {"id": 1, "video": 1, "root": str(root), "path": path, "caption": "a man is running"}
    known = {"action": "running", "verb": "run"}
    store.add("clips", pa.Table.from_pylist([clip | known], schemas()["clips"]))
    store.add("actions", pa.Table.from_pylist([known | {"lemmas": ["run"]}], schemas()["actions"]))
    return ReferenceLibrary.open(place, embedder="none")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "passwd").write_text("root:x:0:0")
    return tmp_path / "private"


def test_no_file_is_read_or_copied_from_a_folder_that_the_user_did_not_name(
    tmp_path: Path, secret: Path
) -> None:
    library = foreign(tmp_path / "theirs", secret, "passwd")
    mine = ReferenceLibrary.open(tmp_path / "mine", create=True, embedder="none")
    mine.add([str(tmp_path / "theirs")], quiet=True)
    for each in (library, mine):
        with pytest.raises(OutputError, match=r"none of 1 clips can be exported, .* not allowed yet"):
            each.export(tmp_path / "out", each.clips())
    assert not (tmp_path / "out").exists()


def test_what_is_no_video_is_not_copied_from_an_allowed_folder_either(tmp_path: Path, secret: Path) -> None:
    library = foreign(tmp_path / "theirs", secret, "passwd")
    library.permissions.allow([secret])
    with pytest.raises(OutputError, match="not a readable video"):
        library.export(tmp_path / "out", library.clips())
    assert not (tmp_path / "out").exists()


def test_a_row_does_not_lead_out_of_its_folder(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "link").symlink_to(secret)
    for number, path in enumerate(("../private/passwd", "link/passwd", str(secret / "passwd"))):
        library = foreign(tmp_path / f"theirs-{number}", tmp_path / "videos", path)
        library.permissions.allow([tmp_path / "videos"])
        with pytest.raises(LibraryError, match="points outside"):
            library.file(library.clips()[0])


def test_adding_a_folder_names_it_for_good(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    film(tmp_path / "videos" / "a man running.mp4", counting(16), fps=8)
    ReferenceLibrary.open(tmp_path / "mine", create=True, embedder="none").add(
        [tmp_path / "videos"], quiet=True
    )
    again = ReferenceLibrary.open(tmp_path / "mine", embedder="none")
    assert again.file(again.clips()[0]).name == "a man running.mp4"
    assert Permissions(str(tmp_path / "mine")).allows(str(tmp_path / "videos"))
    assert not Permissions(str(tmp_path / "mine")).allows(str(tmp_path))


def test_a_name_that_is_not_utf_8_does_not_spoil_what_was_noted(tmp_path: Path) -> None:
    permissions = Permissions(str(tmp_path / "mine"))
    permissions.allow([tmp_path / "videos"])
    with pytest.raises(SettingsError, match="is not text"):
        permissions.allow([tmp_path / "n\udcff"])
    assert permissions.allows(str(tmp_path / "videos"))


def test_text_that_is_not_utf_8_is_no_damage(tmp_path: Path, secret: Path) -> None:
    library = foreign(tmp_path / "theirs", secret, "passwd")
    for ask in (library.search, lambda text: library.search("running", action=text)):
        with pytest.raises(SettingsError, match="is not text"):
            ask("running\udcff")
    with pytest.raises(SettingsError, match=r"action: .* is not text"):
        library.clips(action="running\udcff")
    with pytest.raises(SettingsError, match=r"library: .* is not text"):
        Store(str(tmp_path / "n\udcff"), create=True)


def test_without_a_home_folder_nothing_is_allowed_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "~nobody-of-this-name")
    monkeypatch.chdir(tmp_path)
    permissions = Permissions("mine")
    assert not permissions.allows(str(tmp_path))
    with pytest.raises(LibraryError, match="set XDG_DATA_HOME to a folder"):
        permissions.allow([tmp_path])
    assert not [*tmp_path.iterdir()]


def test_code_of_a_text_model_is_neither_run_nor_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    told = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    told = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(EchoReelError, match="cannot be loaded"):
        load_embedder(str(tmp_path))
    assert not ran.exists()


def test_a_model_that_only_the_librarys_tables_name_is_not_loaded(tmp_path: Path, secret: Path) -> None:
    library = foreign(tmp_path / "theirs", secret, "passwd")
    with pytest.raises(LibraryError, match="a model that you have not named"):
        library.actions._trusted(str(tmp_path / "model"))
    library.permissions.allow(embedders=[str(tmp_path / "model")])
    assert library.actions._trusted(str(tmp_path / "model")) == str(tmp_path / "model")
