"""Detections in the columns of text formats."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.data.formats.collector import Batch, Collector
from detector.data.formats.files import BATCH, read_content
from detector.io.text import open_text

Array = npt.NDArray[np.float64]
Row = tuple[Any, ...]
"""Line, image, class and k fields that are numbers. Flat, for the garbage collector does not track tuples of texts."""


def read_lines(path: Path, content: bytes | None = None) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line that is not blank.

    Args:
        path: a UTF-8 file.
        content: its bytes, if they have been read.

    Raises:
        InputError: the file cannot be read, is a Git LFS pointer or is not text.
    """
    with open_text(path, content=BytesIO(read_content(path) if content is None else content)) as file:
        for number, line in enumerate(file, start=1):
            if text := line.strip():
                yield number, text


def add_rows(
    into: Collector,
    file: Path,
    rows: Iterable[Row],
    fields: Sequence[str],
    convert: Callable[[Array], tuple[Array, Array]],
    refuse: Callable[[Array], npt.NDArray[np.bool_]] | None = None,
    refusal: str = "",
) -> None:
    """Hand on the rows of a text file, batch by batch; fields that are not numbers are faults.

    Args:
        into: takes the batches and the faults.
        file: named in faults.
        rows: of the file.
        fields: (k,) their names.
        convert: computes boxes (n, 4) xyxy and scores (n,) from the numbers (n, k).
        refuse: returns the mask (n,) of the faulty rows among numbers (n, k).
        refusal: the fault of those.
    """
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        try:
            columns = [_numbers(texts) for texts in list(zip(*batch, strict=True))[3:]]
        except ValueError:
            for row in batch:
                for name, text in zip(fields, row[3:], strict=True):
                    if not _is_number(text):
                        fault = f"field {name} is {text[:40]!r}, expected a number"
                        into.faults.add(file, f"line {row[0]}", fault)
            batch = [row for row in batch if all(map(_is_number, row[3:]))]
            columns = [[float(row[3 + index]) for row in batch] for index in range(len(fields))]
        numbers = np.array(columns, np.float64).T
        lines, images, classes = list(zip(*batch, strict=True))[:3] if batch else ((),) * 3
        if refuse is not None:
            for index in np.flatnonzero(refuse(numbers)).tolist():
                into.faults.add(file, f"line {lines[index]}", refusal)
        boxes, scores = convert(numbers)
        into.add(
            Batch(
                file=file, numbers=lines, images=images, classes=classes, boxes=boxes, scores=scores,
                record="line", box_field="box",
            )
        )  # fmt: skip


def _numbers(texts: Sequence[str]) -> list[float]:
    if "_" in "".join(texts):  # Python reads 1_000 as a number
        raise ValueError
    return list(map(float, texts))


def _is_number(text: str) -> bool:
    try:
        return bool(_numbers([text]))
    except ValueError:
        return False


def score_and_inclusive_box(numbers: Array) -> tuple[Array, Array]:
    """Boxes (n, 4) xyxy and scores (n,) of (n, 5) score, xmin, ymin, xmax, ymax, 1-based with the last pixel included.

    >>> score_and_inclusive_box(np.array([[0.5, 1, 1, 10, 20]]))
    (array([[ 0.,  0., 10., 20.]]), array([0.5]))
    """
    return numbers[:, 1:] - np.array([1.0, 1.0, 0.0, 0.0]), numbers[:, 0]


def to_inclusive(boxes: Array) -> Array:
    """(n, 4) xmin, ymin, xmax, ymax, 1-based with the last pixel included, of xyxy boxes."""
    return boxes + np.array([1.0, 1.0, 0.0, 0.0])
