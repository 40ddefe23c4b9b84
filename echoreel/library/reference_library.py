"""The reference library: videos are added once, then found by the action that a prompt asks for.

A sentence embedding of a prompt finds its scenery; so actions are compared with actions (`actions`,
`rank_actions`), and scenery only breaks ties. Over 300 lines since one class is what users hold, and its
public methods tell their arguments and errors.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from echoreel.common.errors import EchoReelError
from echoreel.common.text import checked_text
from echoreel.library import choose_clips
from echoreel.library.actions.action_index import KnownActions
from echoreel.library.actions.find_action import asked_action, find_action, other_actions
from echoreel.library.actions.rank_actions import FITS
from echoreel.library.candidates import nearest_rows
from echoreel.library.check_clips import Checked, check_clips
from echoreel.library.clips import Answer, Found, LibraryClip, Taken, stored, without_place
from echoreel.library.conditions import one_of
from echoreel.library.downloads import DownloadSettings, fetched
from echoreel.library.edit_clips import remove_clips, restore_clips, set_caption
from echoreel.library.export_videos import export_videos
from echoreel.library.permissions import Permissions
from echoreel.library.sources.add_sources import AddSettings, add_sources, check_sources, folders_named
from echoreel.library.sources.added import Added
from echoreel.library.sources.table_rows import others_of
from echoreel.library.tables import ALL, LibraryError, Store, local_folder
from echoreel.library.update_files import check_folders, update_files
from echoreel.media.cuts import cut_times
from echoreel.media.reference_video import ReferenceVideo


class ReferenceLibrary:
    """Videos that show actions, found by the action that a prompt asks for.

    `ReferenceLibrary.open` gives one, of a folder or an object store. Several processes may use one at once.
    """

    def __init__(self, store: Store, embedder: str | None, downloads: DownloadSettings) -> None:
        """embedder: the name of one, the library's own (None), or "none"."""
        self.store, self.downloads = store, downloads
        self.permissions = Permissions(store.uri)
        self.actions = KnownActions(store, embedder, self.permissions)

    @classmethod
    def open(
        cls,
        uri: str | Path,
        create: bool = False,
        embedder: str | None = None,
        downloads: DownloadSettings | None = None,
    ) -> Self:
        """Open a library, or make one.

        Args:
            uri: a folder, or a place such as s3://bucket/library.
            create: make it if there is none.
            embedder: compares actions: a hub id, or "none" for words alone. Default: the library's own.
            downloads: limits of what is fetched from URLs.

        Returns:
            The library.

        Raises:
            LibraryError: there is no library, or it cannot be read.
            MissingExtra: the extra `library` is not installed.
        """
        store = Store(uri, create, is_mine=lambda: bool(Permissions(str(uri)).allowed.folders))
        return cls(store, embedder, downloads or DownloadSettings())

    def add(
        self, sources: Sequence[Path | str], settings: AddSettings | None = None, quiet: bool = False
    ) -> Added:
        """Add videos with their captions, and update those that the library has.

        Files are recognised by their content. The clips of a renamed file move. If a file holds another
        video, its clips are replaced. A changed caption replaces the old one. Removed clips stay out. If
        interrupted, the same call resumes.

        Args:
            sources: folders of videos, videos, catalogues (.csv, .parquet, .jsonl), other libraries.
            settings: how videos are cut and captions found.
            quiet: show no progress.

        Returns:
            What was added, changed, moved or vanished, and what was wrong with single files and rows.

        Raises:
            LibraryError: a source cannot be used.
            CatalogueError: a catalogue lacks columns or names files outside its folder.
        """
        settings, rows = settings or AddSettings(), self.store.count("clips")
        check_sources(sources, settings)
        self.permissions.allow(folders_named(sources, settings))
        added = add_sources(self.store, sources, settings, quiet)
        dropped = self.finish(copies=self.store.count("clips") != rows + added.clips)
        dropped = min(dropped, added.clips)  # another writer added them, too
        added.clips, added.known = added.clips - dropped, added.known + dropped
        return added

    def finish(self, copies: bool = True) -> int:
        """After rows were added: no clip twice, all actions embedded, indexes up to date.

        Clips that two writers added at once are one, or one for each of their captions.

        Returns how many clips were there twice.
        """
        dropped = 0
        if copies:
            dropped = self.store.drop_copies("clips", "id", partial(others_of, self.store))
            self.store.drop_copies("actions", "action")
            self.store.drop_copies("files", "path")
        self.actions.embed()
        self.store.index()
        return dropped

    def search(self, prompt: str, count: int = 10, action: str | None = None) -> Answer:
        """Find the clips that show the prompt's action best, the likeliest first, different from each other.

        Args:
            prompt: what a video should show; its action is found in it.
            count: how many clips.
            action: the action in words. Default: found in the prompt.

        Returns:
            The action that was understood (or None), and clips with scores.

        Raises:
            LibraryError: the library cannot be read.
            EchoReelError: the prompt is empty, or `count` is below 1.
        """
        _check_count(count)
        if not prompt.strip() and not action:
            raise EchoReelError("got an empty prompt; say what the video should show")
        for what, text in (("prompt", prompt), ("action", action or "")):
            checked_text(what, text)
        self.store.refresh()
        asked = asked_action(action) if action else find_action(prompt)
        if asked is None:
            return Answer(prompt, None, ())
        near = dict(self.actions.rank(asked, prompt))
        rows = nearest_rows(self.store, prompt, near, count)
        fit = np.array([near[phrase].score for phrase in rows["action"].to_pylist()])
        captions = [caption or "" for caption in rows["caption"].to_pylist()]
        scored = choose_clips.scores(prompt, fit, captions)
        best = choose_clips.best(scored, count)
        clips = [LibraryClip.of(row) for row in rows.take(best).to_pylist()]
        candidates = choose_clips.Candidates(
            scored[best],
            [clip.caption for clip in clips],
            [clip.video for clip in clips],
            [clip.look for clip in clips],
        )
        chosen = choose_clips.varied(candidates, count)
        found = [Found(clips[i], float(scored[best[i]]), near[clips[i].phrase].why) for i in chosen]
        others = () if action else tuple(other_actions(prompt, asked))
        return Answer(prompt, asked, tuple(found), others)

    def pick(
        self, prompt: str, count: int = 1, action: str | None = None, min_score: float | None = None
    ) -> Answer:
        """Of `search`, those whose action fits: none where nothing does, fewer where there are fewer.

        Args:
            prompt: as in `search`.
            count: as in `search`.
            action: as in `search`.
            min_score: the least that fits. Default: 0.42.

        Returns:
            What was understood, and the clips.

        Raises:
            LibraryError: the library cannot be read.
            EchoReelError: the prompt is empty, or `count` is below 1.
        """
        answer, least = self.search(prompt, count, action), FITS if min_score is None else min_score
        return replace(answer, results=tuple(found for found in answer.results if found.score >= least))

    def take(
        self,
        prompt: str,
        count: int = 1,
        action: str | None = None,
        min_score: float | None = None,
        skip_bad: bool = False,
    ) -> Taken:
        """Read the best matching clips as references, for `generate`.

        Args:
            prompt: as in `search`.
            count: how many references; no part of a video is taken twice.
            action: as in `search`.
            min_score: the least score that fits. Default: 0.42.
            skip_bad: also skip clips in which the camera cuts.

        Returns:
            References, and the clips that were skipped.

        Raises:
            LibraryError: the library cannot be read.
            EchoReelError: the prompt is empty, or `count` is below 1.
        """
        answer = self.pick(prompt, 3 * count, action, min_score)
        taken, parts, problems = list[tuple[Found, ReferenceVideo]](), set[object](), list[tuple[str, str]]()
        for found in answer.results:
            clip = found.clip
            if len(taken) == count or (part := (clip.video, clip.start, clip.end)) in parts:
                continue
            parts.add(part)
            try:
                reference = self.reference(clip)
            except (EchoReelError, OSError) as error:
                problems.append((clip.place, without_place(clip.place, str(error))))
                continue
            if skip_bad and (cuts := cut_times(reference.frames, reference.timestamps)):
                problems.append((clip.place, f"the camera cuts at {cuts[0]:.1f} s"))
                continue
            taken.append((found, reference))
        return Taken(answer, tuple(taken), tuple(problems))

    def reference(self, clip: LibraryClip, strength: float = 1.0) -> ReferenceVideo:
        """The clip's frames, downloaded if need be. Raises VideoError, DownloadError, LibraryError."""
        length = None if clip.end is None else min(clip.end, clip.start + 2.0)
        return ReferenceVideo.from_file(
            self.file(clip), clip.caption, start=clip.start, end=length, strength=strength
        )

    def file(self, clip: LibraryClip) -> Path:
        """The clip's video on this machine.

        Raises DownloadError; LibraryError for one in a folder that nobody has named, or outside its own.
        """
        if clip.is_url:
            return fetched(clip.path, self.downloads)
        return self.permissions.file(clip.root, clip.path)

    def batches(self, where: str | None = None) -> Iterator[list[LibraryClip]]:
        """All clips, or those for which a condition in SQL holds, some ten thousand at a time."""
        for batch in self.store.batches("clips", where):
            yield [LibraryClip.of(row) for row in batch.to_pylist()]

    def readable(self, dropped: Counter[str]) -> Iterator[LibraryClip]:
        """All clips but those whose files may not be read, as `file` says.

        dropped: counts these, by the reason.
        """
        for clip in chain.from_iterable(self.batches()):
            try:
                if not clip.is_url:
                    self.permissions.file(clip.root, clip.path)
                yield clip
            except LibraryError:
                dropped["in folders that are not allowed, see `echoreel library trust`"] += 1

    def clips(self, count: int = 20, action: str | None = None) -> list[LibraryClip]:
        """The first clips or, with a verb or a phrase, the first of that action.

        Raises:
            EchoReelError: `count` is below 1.
        """
        _check_count(count)
        where = None
        if action:
            asked = asked_action(checked_text("action", action))
            where = f"{one_of('action', [asked.phrase, action])} OR {one_of('verb', [asked.verb, action])}"
        return [LibraryClip.of(row) for row in self.store.rows("clips", where, limit=count).to_pylist()]

    def show(self, id: str) -> LibraryClip:
        """One clip.

        Raises:
            LibraryError: no clip has that id.
        """
        rows = self.store.rows("clips", f"id = {stored(id)}", limit=1).to_pylist()
        if not rows:
            raise LibraryError(f"{id}: the library has no such clip; `echoreel library list` shows some")
        return LibraryClip.of(rows[0])

    def remove(self, ids: Sequence[str]) -> int:
        """Take clips out for good; returns how many there were. Their videos stay.

        Adding their videos again does not bring them back; `restore` does.

        Raises:
            LibraryError: it is not an id.
        """
        return remove_clips(self.store, ids)

    def restore(self, ids: Sequence[str]) -> int:
        """Put removed clips in again; returns how many there were.

        Raises:
            LibraryError: it is not an id.
        """
        count = restore_clips(self.store, ids)
        if count:
            self.finish(copies=False)
        return count

    def removed(self) -> list[LibraryClip]:
        """The clips that were taken out, which `restore` can put in again."""
        return [LibraryClip.of(row) for row in self.store.rows("removed").to_pylist()]

    def caption(self, id: str, text: str) -> LibraryClip:
        """Give a clip a caption, by which its action is found; returns the clip.

        It stays when the clip's video is added again, until somebody writes another one beside the video.

        Args:
            id: the clip.
            text: what is done in it, and where.

        Returns:
            The clip with the caption.

        Raises:
            LibraryError: there is no such clip, or the text is empty or too long.
            SettingsError: the text holds characters that cannot be stored.
        """
        clip = set_caption(self.store, id, checked_text("caption", text))
        self.finish(copies=False)
        return clip

    def update(
        self,
        folders: Sequence[Path | str] = (),
        prune: bool = False,
        settings: AddSettings | None = None,
        quiet: bool = False,
    ) -> Added:
        """Bring clips in step with their files: changed videos and captions, files that moved or are gone.

        New videos are not added.

        Args:
            folders: where to look for moved files, beside the folders that were added.
            prune: remove clips whose file is gone; adding the file again brings them back.
            settings: how changed videos are cut.
            quiet: show no progress.

        Returns:
            What changed, moved and vanished, and what was wrong with single files.

        Raises:
            LibraryError: the library cannot be read or written, or a folder does not exist.
        """
        more = [Path(folder) for folder in folders]
        check_folders(more)
        self.permissions.allow(more)
        self.store.refresh()
        done = update_files(
            self.store, self.permissions, (settings or AddSettings()).clips, prune=prune, quiet=quiet
        )
        self.finish(copies=False)
        return done

    def check(self, quiet: bool = False) -> Checked:
        """Look at every clip: missing and damaged files, cuts inside clips, captions that name no action.

        URLs are not fetched. Every file is decoded from end to end, which takes time. Raises LibraryError.
        """
        self.store.refresh()
        return check_clips(self.batches(), self.file, quiet)

    def is_missing(self, clip: LibraryClip) -> bool:
        """Whether the clip's video is a file of this machine that is gone."""
        return not clip.is_url and self.permissions.allows(clip.root) and not os.path.exists(clip.place)

    def export(self, folder: Path, clips: Sequence[LibraryClip]) -> tuple[list[Path], list[tuple[str, str]]]:
        """Copy the clips' videos, and write manifest.jsonl, a catalogue of them.

        Returns the videos written, and (place, what is wrong) of those that could not be.

        Raises:
            OutputError: no clip can be exported, or no export wrote the manifest that is there. It stays.
            OSError: the folder cannot be written.
        """
        return export_videos(folder, clips, self.file)

    def stats(self) -> dict[str, Any]:
        """What is in it."""
        verbs: Counter[str] = Counter()
        for batch in self.store.batches("clips", rows=1 << 20, columns=["verb"]):
            for each in batch.column("verb").value_counts().to_pylist():
                verbs[each["values"]] += each["counts"]
        without = verbs.pop("", 0)
        embedded = self.store.embedder()
        folder = local_folder(self.store.uri)
        files = [] if folder is None else [path for path in folder.rglob("*") if path.is_file()]
        return {
            "library": self.store.uri,
            "clips": self.store.count("clips"),
            "without_action": without,
            "removed": len(self.store.rows("removed")),
            "files_read": self.store.count("files"),
            "urls": self.store.count("clips", "root = ''"),
            "distinct_actions": self.store.count("actions"),
            "verbs": len(verbs),
            "commonest": dict(verbs.most_common(20)),
            "embedder": embedded and embedded[0],
            "encoded": self.store.count("encoded"),
            "indexed": {"caption", "action", "verb"} <= self.store.indexed("clips"),
            "bytes": sum(path.stat().st_size for path in files) or None,
        }


def _check_count(count: int) -> None:
    if not 1 <= count <= ALL:
        raise EchoReelError(f"got {count} clips asked for, need 1 to {ALL}")
