"""A picture of progress: references, the base alone and the base with its adapter, one under the other."""

from functools import cached_property
from pathlib import Path

from echoreel.bases.encoding import decode_video
from echoreel.generation.generate import generate
from echoreel.generation.settings import GenerationSettings
from echoreel.media.drawing import contact_sheet
from echoreel.media.images import Frames
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import write_image
from echoreel.training.adapter_loss import FrozenBase
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.pair_cache import Pairs


class AdapterSheet:
    """The first held-back pairs, filmed by the base's own pipeline; seed i for pair i."""

    def __init__(self, frozen: FrozenBase, held_back: Pairs, settings: AdapterTaskSettings) -> None:
        self._frozen, self._pairs, self._settings = frozen, held_back, settings
        self._shown = range(min(settings.sheet_pairs, len(held_back.targets)))

    def write(self, path: Path) -> None:
        """Three rows a pair, or more where it has several references."""
        self._frozen.place()
        self._frozen.adapter.detach()  # from the denoiser; `generate` attaches to the pipeline
        rows = []
        for index, references in enumerate(self._references):
            prompt, made = self._prompt(index), self._filmed(index, references)
            rows += [(f"reference: {r.caption}", r.frames) for r in references]
            rows += [(f"base: {prompt}", self._alone[index]), (f"ours: {prompt}", made)]
        write_image(path, contact_sheet(rows))

    @cached_property
    def _alone(self) -> list[Frames]:
        """The base's own videos: it does not change, so they do not."""
        return [self._filmed(index, []) for index in self._shown]

    def _filmed(self, index: int, references: list[ReferenceVideo]) -> Frames:
        """Frames (T, H, W, 3) of a pair's prompt; without references, of the base alone."""
        base, target = self._frozen.base, self._pairs.targets[index : index + 1]
        frames, height, width = self._references[index][0].frames.shape[:3]
        frames = max(frames, base.least_frames)
        image = None
        if base.needs_image:
            image = decode_video(base, target[:, :, :1])[0, 0]
        made = generate(
            self._prompt(index),
            references,
            base=base,
            adapter=self._frozen.adapter if references else None,
            seed=index,
            settings=GenerationSettings(
                steps=self._settings.sheet_steps, num_frames=frames, height=height, width=width
            ),
            image=image,
        )
        return made.videos[0]

    @cached_property
    def _references(self) -> list[list[ReferenceVideo]]:
        """Of each pair that is shown, decoded."""
        return [
            [
                ReferenceVideo(frames, caption=caption)
                for frames, caption in zip(
                    decode_video(self._frozen.base, self._pairs.references[index]),
                    self._pairs.reference_captions[index],
                    strict=True,
                )
            ]
            for index in self._shown
        ]

    def _prompt(self, index: int) -> str:
        return self._pairs.captions[index] or "a person"
