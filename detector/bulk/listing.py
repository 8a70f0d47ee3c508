"""The list of photos of a large run, kept in a file so that no process holds all their names."""

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.errors import InputError
from detector.runner.sources import PHOTO_ENDINGS, list_lines, walk_folder
from detector.storage.run_store import writing
from detector.structures.image import FOUND_EXTENSIONS
from proposals.files import atomic_write


def walk(arguments: Sequence[str]) -> Iterator[str | InputError]:
    """The photos of folders with their subfolders, of files, and of lists of files (.txt, one a line), as a stream.

    Whatever cannot be read yields an `InputError` in its place.

    Raises:
        InputError: at once, if an argument repeats another or lies in it, which would repeat its photos. Names in
            lists are not checked.
    """
    checked: dict[Path, str] = {}
    for argument in arguments:
        path = Path(os.path.realpath(argument))
        for earlier, name in checked.items():
            nested = path.is_relative_to(earlier) or earlier.is_relative_to(path)
            if path == earlier or (nested and not _is_list(argument) and not _is_list(name)):
                raise InputError(f"{argument}: its photos are among those of {name} too; name one of them")
        checked[path] = argument
    return (photo for argument in arguments for photo in _photos(argument))


def _photos(argument: str) -> Iterator[str | InputError]:
    if os.path.isdir(argument):
        empty = True
        for file in walk_folder(argument, FOUND_EXTENSIONS, recursive=True):
            empty = False
            yield file
        if empty:
            yield InputError(f"{argument}: the folder has no photos; {PHOTO_ENDINGS}")
    elif _is_list(argument):
        try:
            for _, name in list_lines(argument):
                beside = os.path.join(os.path.dirname(argument), name)
                yield beside if not os.path.lexists(name) and os.path.lexists(beside) else name
        except InputError as error:
            yield error
    else:
        yield argument  # reading it raises what is wrong with it


def _is_list(argument: str) -> bool:
    return argument.lower().endswith(".txt") and not os.path.isdir(argument)


@dataclass(frozen=True)
class Shard:
    """A part of the list.

    Attributes:
        number: from 0.
        start: its first byte in the list's file.
        count: number of photos.
        first: index of its first photo in the shard of this number; above 0 in a part of a shard.
    """

    number: int
    start: int
    count: int
    first: int = 0


@dataclass(frozen=True)
class ImageList:
    """A file of JSON lines: the settings of the run, then a photo's name a line, or {"error": message}."""

    path: Path

    def write(self, made_by: Mapping[str, Any], photos: Iterable[str | InputError]) -> None:
        """Makes the file. Raises `InputError` if it cannot be written."""
        with (
            writing(self.path),
            atomic_write(self.path) as temporary,
            temporary.open("w", encoding="ascii") as file,
        ):
            file.write(json.dumps({"made_by": made_by}) + "\n")
            for photo in photos:
                file.write(json.dumps({"error": str(photo)} if isinstance(photo, InputError) else photo) + "\n")

    def shards(self, size: int, limit: int) -> list[Shard]:
        """Parts of at most `size` photos.

        Raises:
            InputError: the file cannot be read, or there would be more than `limit` parts.
        """
        shards: list[Shard] = []
        try:
            with self.path.open("rb") as file:
                start = position = len(file.readline())
                count = 0
                for line in file:
                    if len(shards) == limit:
                        remedy = "give a larger number and another --out"
                        raise InputError(f"--shard {size}: would make more than {limit} files; {remedy}")
                    position, count = position + len(line), count + 1
                    if count == size:
                        shards.append(Shard(len(shards), start, count))
                        start, count = position, 0
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        return [*shards, Shard(len(shards), start, count)] if count else shards

    def singles(self, shard: Shard, indices: Container[int]) -> Iterator[Shard]:
        """Parts of a shard with one photo each, for these indices in it."""
        with self.path.open("rb") as file:
            file.seek(shard.start)
            for index in range(shard.count):
                start = file.tell()
                file.readline()
                if index in indices:
                    yield Shard(shard.number, start, 1, index)

    def read(self, shard: Shard) -> Iterator[str | InputError]:
        """The photos of a shard."""
        with self.path.open("rb") as file:
            file.seek(shard.start)
            for _ in range(shard.count):
                photo = json.loads(file.readline())
                yield InputError(photo["error"]) if isinstance(photo, dict) else photo
