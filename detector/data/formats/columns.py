"""Numbers in the columns of text formats."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data.formats.collector import Collector, Part
from detector.data.formats.keys import Key

Array = npt.NDArray[np.float64]


def add_rows(
    into: Collector,
    file: Path,
    lines: Sequence[int],
    images: Sequence[Key],
    classes: Sequence[Key],
    texts: Sequence[Sequence[str]],
    fields: Sequence[str],
    convert: Callable[[Array], tuple[Array, Array]],
    refuse: tuple[Callable[[Array], npt.NDArray[np.bool_]], str] | None = None,
) -> None:
    """Hand the rows of a text file on, after noting the fields that are no numbers.

    Args:
        into: what takes them.
        file, lines: where the n rows are from.
        images, classes: (n,) as they stand in the file.
        texts: (n, k) the fields that are numbers; the names of these k are `fields`.
        convert: makes boxes (m, 4) xyxy and scores (m,) of the numbers (m, k).
        refuse: which of the numbers (m, k) are a fault (m,), and what the fault is.
    """
    if not texts:
        return
    try:
        flat = [text for row in texts for text in row]
        if "_" in "".join(flat):
            raise ValueError
        numbers = np.fromiter(map(float, flat), np.float64, len(flat)).reshape(-1, len(fields))
        rows = np.arange(len(texts))
    except ValueError:
        good: list[list[float]] = []
        kept: list[int] = []
        for index, row in enumerate(texts):
            found = [_noted(into, file, lines[index], name, text) for name, text in zip(fields, row, strict=True)]
            if (whole := [number for number in found if number is not None]) and len(whole) == len(found):
                good.append(whole)
                kept.append(index)
        numbers, rows = np.array(good, np.float64).reshape(-1, len(fields)), np.array(kept, np.int64)
        images, classes = [images[row] for row in kept], [classes[row] for row in kept]
    if refuse is not None:
        for place in np.flatnonzero(refuse[0](numbers)).tolist():
            into.faults.add(file, f"line {lines[rows[place]]}", refuse[1])
    boxes, scores = convert(numbers)
    into.add(
        Part(
            file=file,
            images=images,
            classes=classes,
            boxes=boxes,
            scores=scores,
            record=lambda row: f"line {lines[rows[row]]}",
            box_field="box",
        )
    )


def from_inclusive(numbers: Array) -> Array:
    """(n, 4) boxes of xmin, ymin, xmax, ymax, which count pixels from 1 and include the last, as xyxy.

    >>> from_inclusive(np.array([[1.0, 1, 10, 20]])).tolist()
    [[0.0, 0.0, 10.0, 20.0]]
    """
    return numbers - np.array([1.0, 1.0, 0.0, 0.0])


def to_inclusive(boxes: Array) -> Array:
    """The inverse of `from_inclusive`, up to the last bit of a float64."""
    return boxes + np.array([1.0, 1.0, 0.0, 0.0])


def _number(text: str) -> float:
    if "_" in text:  # Python's own way of writing 1_000
        raise ValueError
    return float(text)


def _noted(into: Collector, file: Path, line: int, name: str, text: str) -> float | None:
    try:
        return _number(text)
    except ValueError:
        into.faults.add(file, f"line {line}", f"field {name} is {text[:40]!r}, expected a number")
        return None
