"""One small error tree: everything a user can cause and mend derives from `EchoReelError`.

A message says what we got, what we need and what to do. The command line prints it as one sentence and
exits with code 2; library users catch `EchoReelError` or one of the names below.
"""


class EchoReelError(ValueError):
    """Bad input: a file, a setting, a name or a combination that cannot work."""


class SettingsError(EchoReelError):
    """A settings file, a recipe or an override is wrong."""


class MissingExtra(EchoReelError):
    """An optional package is needed; the message names the extra that brings it."""


class OutputError(EchoReelError):
    """A file cannot be written there, or would replace another one."""


class VideoError(EchoReelError):
    """A video cannot be used; see the subclasses."""


class VideoMissing(VideoError):
    """There is no such file."""


class VideoUnreadable(VideoError):
    """The file is not a video, or is damaged before the wanted frames."""


class VideoEmpty(VideoError):
    """The file holds no frames or no video stream."""


class VideoTooLarge(VideoError):
    """The file is over a limit on size, duration, pixels or frames."""


class ClipTooShort(VideoError):
    """The asked part of the video holds too few frames."""


class MotionLibraryError(EchoReelError):
    """A motion library (`.npz` + `.csv`) is missing, incomplete or malformed."""


class BaseUnsupported(EchoReelError):
    """The base is not of a supported family, or is not a base at all."""


class AdapterMismatch(EchoReelError):
    """Adapter and base, or adapter and tokens, do not fit each other."""


class InUse(EchoReelError):
    """A pipeline or an adapter is making a video in another thread."""


class CheckpointError(EchoReelError):
    """A run folder or a weights folder is missing, damaged or from another run."""


class ModelMissing(EchoReelError):
    """A model that a metric needs is unavailable, or is of another kind."""
