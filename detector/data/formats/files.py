"""What formats of detections share: rows of text, folders written completely or not at all, names of files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Array
from detector.errors import InputError
from detector.io.text import read_content
from proposals.files import temporary_folder


def result_files(path: Path, content: bytes | None) -> Iterator[tuple[Path, bytes]]:
    """The text files of a folder, or the one file of that content, each with its bytes; InputError if there is none."""
    if content is not None:
        yield path, content
        return
    files = sorted(path.glob("*.txt"))
    if not files:
        raise InputError(f"{path}: holds no .txt files")
    yield from ((file, read_content(file)) for file in files)


def score_and_inclusive_box(numbers: Array) -> tuple[Array, Array]:
    """Boxes (n, 4) xyxy and scores (n,) of (n, 5) score, xmin, ymin, xmax, ymax, 1-based with the last pixel included.

    >>> score_and_inclusive_box(np.array([[0.5, 1, 1, 10, 20]]))
    (array([[ 0.,  0., 10., 20.]]), array([0.5]))
    """
    return numbers[:, 1:] - np.array([1.0, 1.0, 0.0, 0.0]), numbers[:, 0]


def to_inclusive(boxes: Array) -> Array:
    """(n, 4) xmin, ymin, xmax, ymax, 1-based with the last pixel included, of xyxy boxes."""
    return boxes + np.array([1.0, 1.0, 0.0, 0.0])


def table_rows(
    table: DetectionTable, boxes: Array
) -> Iterator[tuple[int, int, float, tuple[float, float, float, float]]]:
    """Image, label, score and box of each detection, as plain values."""
    columns = (table.images, table.labels, table.scores, boxes)
    return zip(*(values.tolist() for values in columns), strict=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is moved to `path` when the block has succeeded; InputError if that fails.

    `path` must be new or empty: old files in it would be read as part of the new result.
    """
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: already exists; give a new or an empty folder")
        with temporary_folder(path) as temporary:
            yield temporary
            if path.is_dir():
                path.rmdir()  # on Windows, os.replace does not replace an empty folder
            os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def safe_name(name: str, *, everywhere: bool = True) -> str:
    """The name, if it can be part of a file's name on every system, or else on this one; InputError otherwise."""
    if everywhere or os.name == "nt":
        refused = any(c in '/\\:*?"<>|' or not c.isprintable() for c in name)
    else:
        refused = "/" in name or "\0" in name
    if not name or refused or name in (".", ".."):
        raise InputError(f"{name!r} cannot be the name of a file; choose another format")
    return name


def valid_text(text: str) -> str:
    """A file's name as text, in any locale: bytes that are not UTF-8 are shown as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
