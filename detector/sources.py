"""From the SOURCE... arguments of a command line to photos: files, folders, patterns, standard input."""

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from detector.errors import InputError
from detector.images import EXTENSIONS, Image, read_image

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Source:
    """A photo that was named but not yet read: a file, or standard input where `path` is None."""

    path: Path | None

    @property
    def name(self) -> str:
        """The path as the user wrote it, or "-"."""
        return STANDARD_INPUT if self.path is None else str(self.path)

    def read(self) -> Image:
        """The photo. Raises `InputError` if it cannot be read."""
        if self.path is None:
            return read_image(sys.stdin.buffer, name="standard input")
        return read_image(self.path)


def find_sources(arguments: Iterable[str]) -> Iterator[Source | InputError]:
    """The photos that `arguments` name, in their order, each path once.

    An argument is a file; a folder, for the photos directly in it (by extension, in natural order: 2 before
    10); a pattern (`*`, `?`, `[...]`, and `**` for any depth), for the photos it matches; or "-", standard
    input. An argument that names no photo gives an `InputError` in its place, and the others go on. No file
    is opened.
    """
    seen: set[str] = set()
    for argument in arguments:
        try:
            sources = _expand(argument)
        except InputError as error:
            yield error
            continue
        for source in sources:
            key = STANDARD_INPUT if source.path is None else os.path.abspath(source.path)
            if key not in seen:
                seen.add(key)
                yield source


def _expand(argument: str) -> list[Source]:
    if argument == STANDARD_INPUT:
        return [Source(None)]
    if not argument or "\0" in argument:
        raise InputError(f"{argument!r}: not a path; give a photo, a folder or a pattern")
    path = Path(argument)
    if os.path.isdir(path):
        return _photos(argument, _entries(path), "the folder has no photos")
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        if not glob.has_magic(argument):
            raise InputError(f"{argument}: no such file or folder; check the path") from None
        return _photos(argument, map(Path, glob.iglob(argument, recursive=True)), "matches no photos")
    except OSError:
        pass  # reading the photo says what is wrong with it
    return [Source(path)]


def _entries(folder: Path) -> list[Path]:
    try:
        # Names that begin with a dot are hidden files, such as the "._photo.jpg" that macOS leaves behind.
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its access rights") from None


def _photos(argument: str, paths: Iterable[Path], failure: str) -> list[Source]:
    photos = [path for path in paths if path.suffix.lower() in EXTENSIONS and not os.path.isdir(path)]
    if not photos:
        raise InputError(f"{argument}: {failure}; photos end in {', '.join(EXTENSIONS[:6])} or the like")
    return [Source(path) for path in sorted(photos, key=_natural)]


def _natural(path: Path) -> tuple[list[str | int], str]:
    # Splitting at a group alternates text and digits, so that equal positions always compare alike.
    parts = re.split(r"(\d+)", str(path).casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], str(path)
