"""The photos of a large run: found as a stream and kept in a file, so that no process holds all their names."""

import json
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.errors import InputError
from detector.io.text import strip_bom
from detector.structures.image import EXTENSIONS, FOUND_EXTENSIONS
from proposals.files import atomic_write

_DEEPEST = 100
"""Folders in folders: each is held open while those in it are walked."""


def walk(arguments: Sequence[str]) -> Iterator[str | InputError]:
    """The photos that arguments name: folders with all below them, files, and lists of files (.txt, one a line).

    Folders are read entry by entry, in the order in which the file system gives them, and links to folders are left.
    What cannot be read gives an `InputError` in its place.

    Raises:
        InputError: at once, if a folder, file or list is named twice or lies in another one: its photos would come
            twice. What lists name is taken as it is.
    """
    places: dict[Path, str] = {}
    for argument in arguments:
        place = Path(os.path.realpath(argument))
        for known, name in places.items():
            same = place == known
            if not _is_list(argument) and not _is_list(name):
                same = place.is_relative_to(known) or known.is_relative_to(place)
            if same:
                raise InputError(f"{argument}: its photos are among those of {name} too; name one of them")
        places[place] = argument
    return (found for argument in arguments for found in _named(argument))


def _named(argument: str) -> Iterator[str | InputError]:
    if os.path.isdir(argument):
        empty = True
        for found in _below(argument):
            empty = False
            yield found
        if empty:
            yield InputError(
                f"{argument}: the folder has no photos; they end in {', '.join(EXTENSIONS[:6])} or the like"
            )
    elif _is_list(argument):
        yield from _listed(argument)
    else:
        yield argument  # reading it says what is wrong with it


def _is_list(argument: str) -> bool:
    return argument.lower().endswith(".txt") and not os.path.isdir(argument)


def _below(folder: str, depth: int = 0) -> Iterator[str | InputError]:
    if depth > _DEEPEST:
        yield InputError(f"{folder}: folders lie more than {_DEEPEST} deep; name the photos below in a list")
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):  # links may go round in circles
                    yield from _below(entry.path, depth + 1)
                elif entry.name.lower().endswith(FOUND_EXTENSIONS) and _may_be_file(entry):
                    yield entry.path
    except OSError as error:
        yield InputError(f"{folder}: cannot be listed ({error.strerror or error}); check its access rights")


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Whether to read it, which also says what is wrong with a link that leads nowhere one may look."""
    try:
        return entry.is_file()
    except OSError:
        return True


def _listed(path: str) -> Iterator[str | InputError]:
    folder, empty = os.path.dirname(path), True
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                if number == 0:
                    line = strip_bom(line)
                name = os.fsdecode(line.rstrip(b"\r\n"))  # as the system decodes names of files
                if name.strip():
                    empty = False
                    beside = os.path.join(folder, name)
                    yield beside if not os.path.lexists(name) and os.path.lexists(beside) else name
    except OSError as error:
        yield InputError(f"{path}: the list cannot be read ({error.strerror or error})")
    else:
        if empty:
            yield InputError(f"{path}: the list is empty; give a photo a line")


@dataclass(frozen=True)
class Shard:
    """A part of the list.

    Attributes:
        number: from 0.
        start: where it begins in the list's file, in bytes.
        count: of photos.
        first: place of its first photo; more than 0 in a part of a shard.
    """

    number: int
    start: int
    count: int
    first: int = 0


@dataclass(frozen=True)
class ImageList:
    """A file of the photos of a run, a line of JSON each: a name, or {"error": why there is none}."""

    path: Path

    def write(self, found: Iterable[str | InputError]) -> None:
        """Makes the file. Raises `InputError` if it cannot be written."""
        try:
            with atomic_write(self.path) as temporary, temporary.open("w", encoding="ascii") as file:
                for one in found:
                    file.write(json.dumps({"error": str(one)} if isinstance(one, InputError) else one) + "\n")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror or error})") from None

    def shards(self, size: int, most: int) -> list[Shard]:
        """Parts of at most `size` photos. Raises `InputError` if the file cannot be read, or for more than `most`."""
        shards: list[Shard] = []
        start = position = count = 0
        try:
            with self.path.open("rb") as file:
                for line in file:
                    position, count = position + len(line), count + 1
                    if len(shards) == most:
                        raise InputError(
                            f"--shard {size}: would make more than {most} files; give a larger number and another --out"
                        )
                    if count == size:
                        shards.append(Shard(len(shards), start, count))
                        start, count = position, 0
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        return [*shards, Shard(len(shards), start, count)] if count else shards

    def singles(self, shard: Shard, places: Container[int]) -> Iterator[Shard]:
        """Parts of a shard with one photo each, of those places."""
        with self.path.open("rb") as file:
            file.seek(shard.start)
            for place in range(shard.count):
                start = file.tell()
                file.readline()
                if place in places:
                    yield Shard(shard.number, start, 1, place)

    def read(self, shard: Shard) -> Iterator[str | InputError]:
        """The photos of a shard."""
        with self.path.open("rb") as file:
            file.seek(shard.start)
            for _ in range(shard.count):
                one = json.loads(file.readline())
                yield InputError(one["error"]) if isinstance(one, dict) else one
