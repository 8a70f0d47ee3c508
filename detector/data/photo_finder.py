"""Where the photos of a data set are: label files name them, people move them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from detector.errors import InputError
from detector.structures.image import EXTENSIONS, NOT_SUPPORTED, is_heic


class PhotoFinder:
    """Finds the photo of a label file in folders, in their order, then anywhere below the last one."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders

    def __call__(self, file: str, exact: bool) -> Path:
        """The photo; InputError if there is none. Unless `exact`, its suffix is unknown."""
        stem = file.removesuffix(".jpg")
        suffixes = () if exact else (spelling for suffix in EXTENSIONS for spelling in (suffix, suffix.upper()))
        names = [file, *(stem + suffix for suffix in suffixes)]
        for path in (folder / name for folder in self.folders for name in names):
            if path.is_file():
                return path
        photos = self._below.get(Path(file).stem if exact else stem, [])
        if exact:
            photos = [photo for photo in photos if photo.name == Path(file).name]
        if len(photos) > 1:
            raise InputError(f"several photos have this name, {photos[0]} and {photos[1]}")
        if photos:
            return photos[0]
        if heic := self._heic.get(Path(file).stem):
            raise InputError(f"its photo {heic} {NOT_SUPPORTED}")
        raise InputError(f"no such photo, in {self.folders[0]} or below {self.folders[-1]}")

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        below: dict[str, list[Path]] = {}
        for photo in files_below(self.folders[-1], *EXTENSIONS):
            below.setdefault(photo.stem, []).append(photo)
        return below

    @cached_property
    def _heic(self) -> dict[str, Path]:
        near = (path for folder in self.folders for path in folder.glob("*"))
        return {path.stem: path for path in (*near, *self.folders[-1].rglob("*")) if is_heic(path)}


def files_below(folder: Path, *suffixes: str) -> list[Path]:
    """The files below a folder with one of these suffixes (in lower case), sorted; hidden ones are left out."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in suffixes and not file.name.startswith("."))
    return sorted(file for file in files if file.is_file())
