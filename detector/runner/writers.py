"""Writes annotated pictures and videos, and checks paths before a run."""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.errors import InputError
from detector.runner.sources import Source
from detector.runner.video import Video, VideoWriter
from detector.structures.image import EXTENSIONS
from detector.visualization.files import save_picture

_LOSSLESS = (".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga")


class PictureFolder:
    """A folder of annotated pictures and videos, each named after its source.

    Sources of the same name get "x.jpg", "x-2.jpg", ... in their order, so that a run never overwrites its own
    pictures, and a repeated run has the same names. Photos of lossless formats become PNG, other photos JPEG, and
    videos MP4.

    Raises:
        InputError: the folder cannot be written, or holds one of `sources`.
    """

    def __init__(self, folder: Path, sources: Sequence[Source | Video]) -> None:
        for source in sources:
            if source.path is not None and source.path.parent.resolve() == folder.resolve():
                raise InputError(f"--out {folder}: holds the photo {source.name} itself; give another folder")
        if sources:
            check_folder(folder, f"--out {folder}")
        self._paths = {}
        for source, stem in distinct_stems(sources).items():
            lossless = Path(source.file_name).suffix.lower() in _LOSSLESS
            suffix = ".mp4" if isinstance(source, Video) else ".png" if lossless else ".jpg"
            self._paths[source] = folder / f"{stem}{suffix}"

    @property
    def paths(self) -> list[Path]:
        """The file of each source, in their order."""
        return list(self._paths.values())

    def save(self, source: Source, pixels: np.ndarray) -> Path:
        """Writes the (H, W, 3) uint8 RGB `pixels`. Raises `InputError` if that fails."""
        return save_picture(self._paths[source], pixels)

    def video(self, source: Video, frame_rate: float) -> VideoWriter:
        """A writer for the annotated video."""
        return VideoWriter(self._paths[source], frame_rate)


def distinct_stems(sources: Sequence[Source | Video]) -> dict[Source | Video, str]:
    """A distinct name without extension for each source: "x", "x-2", ...

    All are named in advance, because a photo that fails must not change the names of the others.
    """
    stems: dict[Source | Video, str] = {}
    taken: set[str] = set()
    last: Counter[str] = Counter()
    for source in sources:
        stem = name = Path(source.file_name).stem
        while name.casefold() in taken:  # to some file systems "X.jpg" and "x.jpg" are the same
            last[stem.casefold()] += 1
            name = f"{stem}-{last[stem.casefold()] + 1}"
        taken.add(name.casefold())
        stems[source] = name
    return stems


def next_folder(folder: Path) -> Path:
    """The first of `folder`, "folder-2", "folder-3", ... that is empty or does not exist."""
    number, path = 1, folder
    while os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        number += 1
        path = folder.with_name(f"{folder.name}-{number}")
    return path


def check_result_file(path: Path, option: str) -> None:
    """Checks as `check_writable_file` that a file of results can be written, and that its name is not a photo's."""
    check_writable_file(path, option)
    if path.suffix.lower() in EXTENSIONS:
        raise InputError(f"{option} {path}: the ending is that of a photo; give another")


def check_writable_file(path: Path, option: str) -> None:
    """Checks before a run that a file can be written after it. Raises `InputError` that names the option."""
    if str(path) == "-":
        raise InputError(f"{option} -: standard output is for the printed results; give a file name")
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; give a file name")
    check_folder(path.parent, f"{option} {path}")


def check_folder(folder: Path, what: str) -> None:
    """Makes a folder if needed. Raises `InputError` that begins with `what` if it cannot be written."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{what}: {folder} is not a folder; give another path") from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{what}: cannot be written ({reason}); give another path") from None
