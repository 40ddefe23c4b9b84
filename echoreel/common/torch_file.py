"""Torch's own files (.pt, .ckpt): only their tensors are read, and only what torch itself would write."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import torch

from echoreel.common.loading_errors import hint_of
from echoreel.common.places import check_ends


class TorchFileError(ValueError):
    """A file that torch did not write, or that holds more than tensors and plain values."""


def load_tensors(path: Path, mmap: bool = False) -> Any:
    """What is in the file, on the CPU. mmap: tensors stay in the file until they are used.

    Nothing is unpickled but tensors and plain values. Torch never compresses, so a file whose parts are
    compressed, which may be a thousand times as large in memory, is refused. Raises OSError, TorchFileError.
    """
    check_ends(path)
    try:
        if is_zipfile(path):
            with ZipFile(path) as archive:
                if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
                    raise TorchFileError(f"{path.name} is compressed, as torch writes none")
        return torch.load(path, map_location="cpu", mmap=mmap, weights_only=True)
    except (OSError, TorchFileError):
        raise
    except UnpicklingError as error:  # torch's own message advises to unpickle it all the same
        raise TorchFileError(
            f"{path.name} is not a file of plain tensors and could run code, so it was not read"
        ) from error
    except BadZipFile as error:
        raise TorchFileError(f"{path.name} is a damaged archive") from error
    except Exception as error:  # torch's reader raises nearly everything on damaged files
        raise TorchFileError(hint_of(error)) from error
