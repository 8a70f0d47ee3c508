"""From the SOURCE... arguments of a command line to photos and videos.

Files, folders, patterns, zips of photos, lists in text files, standard input, and cameras by their number.
"""

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from detector.data.archives import PhotoZip
from detector.errors import InputError
from detector.io.text import strip_bom
from detector.runner.video import VIDEO_EXTENSIONS, Video
from detector.structures.image import EXTENSIONS, FOUND_EXTENSIONS, Image, missing_file, read_image

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Source:
    """A photo that was named but not yet read: a file, a member of a zip, or standard input where `path` is None.

    `path` is the zip's where `member` is the name of the photo in it.
    """

    path: Path | None
    member: str | None = None
    archive: PhotoZip | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The path as the user wrote it, "photos.zip/a.jpg" for a member, or "-"."""
        if self.path is None:
            return STANDARD_INPUT
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def file_name(self) -> str:
        """The last part of the name; "stdin.jpg" for standard input."""
        if self.path is None:
            return "stdin.jpg"
        return self.path.name if self.member is None else PurePosixPath(self.member).name

    def read(self) -> Image:
        """The photo. Raises `InputError` if it cannot be read."""
        if self.path is None:
            return read_image(sys.stdin.buffer, name="standard input")
        if self.member is None:
            return read_image(self.path)
        archive = self.archive or PhotoZip(self.path, _is_photo)
        return read_image(archive.read(self.member), self.name)


def find_sources(arguments: Iterable[str], recursive: bool = False) -> Iterator[Source | InputError]:
    """The photos that `arguments` name, in their order, each path once.

    An argument is

    - a file; one that ends in .txt is a list of further arguments, a line each: relative ones are looked for in the
      working directory, then in the list's folder;
    - a folder, for the photos directly in it (by extension, in natural order: 2 before 10), or, if `recursive`, in
      it and all folders below;
    - a pattern (`*`, `?`, `[...]`, and `**` for any depth), for the photos it matches;
    - a file that ends in .zip, for the photos in it;
    - "-", standard input.

    An argument that names no photo gives an `InputError` in its place, and the others go on. No file but lists and
    the contents of zips is opened.
    """
    for found in _found(arguments, _Finder(FOUND_EXTENSIONS, recursive)):
        assert not isinstance(found, Video)
        yield found


def find_media(arguments: Iterable[str], recursive: bool = False) -> Iterator[Source | Video | InputError]:
    """The same with videos: their files among photos, and a number, where no file has that name, for a camera."""
    return _found(arguments, _Finder((*FOUND_EXTENSIONS, *VIDEO_EXTENSIONS), recursive))


def _found(arguments: Iterable[str], finder: "_Finder") -> Iterator[Source | Video | InputError]:
    seen: set[object] = set()
    for argument in arguments:
        for one in finder.expand(argument):
            if not isinstance(one, InputError):
                # The rest of a source beside its path tells members of a zip, and cameras, apart.
                key = one.name if one.path is None else (os.path.abspath(one.path), getattr(one, "member", None))
                if key in seen:
                    continue
                seen.add(key)
            yield one


@dataclass(frozen=True)
class _Finder:
    extensions: tuple[str, ...]
    recursive: bool

    def expand(self, argument: str, folder: Path | None = None) -> Iterator[Source | Video | InputError]:
        """What an argument names; `folder` is that of the list which it is a line of."""
        try:
            if folder is None and _is_list(argument):
                yield from self._listed(Path(argument))
            else:
                yield from self._named(argument, folder)
        except InputError as error:
            yield error

    def _listed(self, path: Path) -> Iterator[Source | Video | InputError]:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the list cannot be read ({error.strerror or error})") from None
        # Decoded as the system decodes names of files, which need not be valid text.
        lines = [line.removesuffix("\r") for line in os.fsdecode(strip_bom(content)).split("\n")]
        if not any(line.strip() for line in lines):
            raise InputError(f"{path}: the list is empty; give a photo a line")
        for number, line in enumerate(lines, start=1):
            for one in self.expand(line, path.parent) if line.strip() else ():
                yield InputError(f"{path}, line {number}: {one}") if isinstance(one, InputError) else one

    def _named(self, argument: str, folder: Path | None) -> list[Source | Video | InputError]:
        if argument == STANDARD_INPUT and folder is None:
            return [Source(None)]
        if not argument or "\0" in argument:
            raise InputError(f"{argument!r}: not a path; give a photo, a folder or a pattern")
        path = Path(argument)
        if os.path.isdir(path):
            return self._chosen(argument, self._entries(path), "the folder has no")
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            if folder is not None and str(folder / path) != str(path):
                return self._named(str(folder / path), None)
            if self._videos and argument.isascii() and argument.isdigit() and len(argument) < 4:
                return [Video(None, int(argument))]
            if not glob.has_magic(argument):
                raise missing_file(argument, "file or folder") from None
            return self._chosen(argument, map(Path, glob.iglob(argument, recursive=True)), "matches no")
        except OSError:
            pass  # reading the photo says what is wrong with it
        if path.suffix.lower() == ".zip":
            return self._zipped(path)
        return [self._source(path)]

    @property
    def _videos(self) -> bool:
        return VIDEO_EXTENSIONS[0] in self.extensions

    def _source(self, path: Path) -> Source | Video:
        return Video(path) if self._videos and path.suffix.lower() in VIDEO_EXTENSIONS else Source(path)

    def _entries(self, folder: Path) -> Iterator[Path | InputError]:
        # Names that begin with a dot are hidden files, such as the "._photo.jpg" that macOS leaves behind.
        try:
            entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        except OSError as error:
            raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its access rights") from None
        for entry in entries:
            if self.recursive and entry.is_dir() and not entry.is_symlink():  # links may go round in circles
                try:
                    yield from self._entries(entry)
                except InputError as error:
                    yield error
            else:
                yield entry

    def _chosen(
        self, argument: str, entries: Iterable[Path | InputError], failure: str
    ) -> list[Source | Video | InputError]:
        entries = list(entries)
        wrong: list[Source | Video | InputError] = [entry for entry in entries if isinstance(entry, InputError)]
        paths = [entry for entry in entries if isinstance(entry, Path)]
        chosen = [path for path in paths if path.suffix.lower() in self.extensions and not os.path.isdir(path)]
        if not chosen and not wrong:
            what = "photos or videos" if self._videos else "photos"
            if not self.recursive and os.path.isdir(argument) and self._any_below(argument):
                remedy = "--recursive takes them" if self._videos else f"give '{argument}/**'"
                raise InputError(f"{argument}: {failure} {what} itself, but the folders in it have; {remedy}")
            raise InputError(f"{argument}: {failure} {what}; photos end in {', '.join(EXTENSIONS[:6])} or the like")
        return wrong + [self._source(path) for path in sorted(chosen, key=_natural)]

    def _any_below(self, folder: str) -> bool:
        names = (name for _, _, names in os.walk(folder) for name in names)
        return any(name.lower().endswith(self.extensions) and not name.startswith(".") for name in names)

    def _zipped(self, path: Path) -> list[Source | Video | InputError]:
        archive = PhotoZip(path, _is_photo)
        if not archive.names:
            raise InputError(f"{path}: the zip has no photos; photos end in {', '.join(EXTENSIONS[:6])} or the like")
        return [Source(path, name, archive) for name in sorted(archive.names, key=lambda name: _natural(Path(name)))]


def _is_list(argument: str) -> bool:
    return argument.lower().endswith(".txt") and os.path.isfile(argument)


def _is_photo(member: str) -> bool:
    name = PurePosixPath(member)
    return name.suffix.lower() in FOUND_EXTENSIONS and not name.name.startswith(".")


def _natural(path: Path) -> tuple[list[str | int], str]:
    # Splitting at a group alternates text and digits, so that equal positions always compare alike.
    parts = re.split(r"(\d+)", str(path).casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], str(path)
