"""What a run of detections leaves on the disk: annotated pictures and a list of results in JSON."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from detector.detections import Detections
from detector.errors import InputError
from detector.images import EXTENSIONS, Image
from detector.sources import Source
from proposals.files import atomic_write

_LOSSLESS = (".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga")


class PictureFolder:
    """A folder of annotated pictures, each named after its photo.

    Photos of equal names get "x.jpg", "x-2.jpg", ... in their order, so that a run never overwrites its own
    pictures, and the same run again replaces the same ones. Photos of lossless formats become PNG, all others
    JPEG.
    """

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        """Makes the folder. Raises `InputError` if it cannot be written or if one of `sources` lies in it."""
        for source in sources:
            if source.path is not None and source.path.parent.resolve() == folder.resolve():
                raise InputError(f"--out {folder}: holds the photo {source.name} itself; give another folder")
        if sources:
            _check_writable(folder, f"--out {folder}")
        # Named in advance: a photo that fails must not change the names of the others.
        names = _distinct_names(sources)
        self._paths = {source: folder / name for source, name in zip(sources, names, strict=True)}

    def save(self, source: Source, pixels: np.ndarray) -> Path:
        """Writes the (H, W, 3) uint8 RGB `pixels`. Raises `InputError` if that fails."""
        path = self._paths[source]
        try:
            with atomic_write(path) as temporary:
                picture = PillowImage.fromarray(pixels)
                if path.suffix == ".png":
                    picture.save(temporary, "PNG", compress_level=1)
                else:
                    picture.save(temporary, "JPEG", quality=92)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
        return path


class ResultFile:
    """The results of a run as a JSON list with one entry a photo; written as a whole, and only by `save`."""

    def __init__(self, path: Path) -> None:
        """Raises `InputError` if the file could not be written in the end."""
        check_result_file(path, "--json")
        self._path = path
        self._entries: list[dict[str, Any]] = []

    def add(self, source: Source, image: Image, detections: Detections, seconds: float) -> None:
        """Boxes are kept to 0.01 pixel, scores to six digits."""
        items = detections.to_dict()
        for item in items:
            item["box"] = [round(value, 2) for value in item["box"]]
            item["score"] = round(item["score"], 6)
        self._entries.append(
            {
                "image": source.name,
                "width": image.width,
                "height": image.height,
                "seconds": round(seconds, 4),
                "detections": items,
            }
        )

    def save(self) -> None:
        """Writes what was added. Raises `InputError` if that fails."""
        write_json_lines(self._path, self._entries)


def _distinct_names(sources: Sequence[Source]) -> list[str]:
    names: list[str] = []
    taken: set[str] = set()
    for source in sources:
        original = source.path or Path("stdin.jpg")
        suffix = ".png" if original.suffix.lower() in _LOSSLESS else ".jpg"
        name, number = original.stem + suffix, 1
        while name.casefold() in taken:  # folded: some file systems do not tell "X.jpg" from "x.jpg"
            number += 1
            name = f"{original.stem}-{number}{suffix}"
        taken.add(name.casefold())
        names.append(name)
    return names


def check_result_file(path: Path, option: str) -> None:
    """The same for a file of results, which must not have the name of a photo."""
    check_writable_file(path, option)
    if path.suffix.lower() in EXTENSIONS:
        raise InputError(f"{option} {path}: is the name of a photo; give another ending")


def check_writable_file(path: Path, option: str) -> None:
    """Finds out before the work that a result could not be written after it.

    Raises `InputError` that names the option and the file if it could not.
    """
    if str(path) == "-":
        raise InputError(f"{option} -: standard output is for the printed results; give the name of a file")
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; give the name of a file")
    _check_writable(path.parent, f"{option} {path}")


def write_json_lines(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Writes a JSON list with one entry a line, readable by eye and with line tools.

    Raises `InputError` if that fails.
    """
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    _write_text(path, f"[\n{lines}\n]\n" if lines else "[]\n")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a result as indented JSON. Raises `InputError` if that fails."""
    _write_text(path, json.dumps(content, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def _check_writable(folder: Path, what: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{what}: {folder} is not a folder; give another place") from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{what}: cannot be written ({reason}); give another place") from None
