"""Reader of the ground truth of the ILSVRC detection task (DET).

The annotations are XML in VOC's format whose `name` is a synset, `n02691156`. The development kit's eval_detection.m
computes the width as xmax - xmin + 1: like VOC's, both ends are inclusive, and a box becomes (xmin - 1, ymin - 1, xmax,
ymax) here. It neither clips a box nor compares it with the size of the image, and some annotations count from 0; such a
box begins at -1 here, and keeps the width and the overlaps that the development kit computes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from detector.data.blacklist import Blacklist
from detector.data.faults import Faults
from detector.data.ground_truth import GroundTruth, repeated
from detector.data.voc import folder_source, read_annotations
from detector.data.voc_xml import check_file_name
from detector.errors import InputError
from detector.io.text import open_text


def read_ilsvrc(annotations: Path, image_list: Path, class_map: Path, faults: Faults | None = None) -> GroundTruth:
    """The objects in the images of a list.

    `image_ids` are the images' names, `class_ids` the synsets, `image_numbers` those of the list, which results and the
    blacklist use, and `class_numbers` those of the map (ILSVRC_DET_ID).

    Args:
        annotations: the folder of the XML files, such as `Annotations/DET/val`.
        image_list: a line an image, its name and number: `ILSVRC2012_val_00000001 1` (`ImageSets/DET/val.txt`). The
            number defaults to that of the line.
        class_map: a line a class, its synset, number and name: `n02672831 1 accordion` (`map_det.txt`).
        faults: collects the faults; its notes count the objects of synsets that are not in the map, which are left out.

    Raises:
        InputError: a file or folder cannot be read.
        FaultyDataError: a file has faults; each names the file, the line or object, and the field.
    """
    if not annotations.is_dir():
        raise InputError(f"{annotations}: no such folder; give the folder of the XML files")
    faults = faults or Faults()
    synsets, class_numbers, class_names = _read_class_map(class_map)
    numbers = _read_image_list(image_list)
    other: Counter[str] = Counter()
    truth = read_annotations(
        folder_source(annotations),
        tuple(numbers),
        synsets,
        faults,
        on_other_class=lambda synset: other.update([synset]),
    )
    if other:
        counts = ", ".join(f"{synset} ({count})" for synset, count in sorted(other.items()))
        faults.notes.append(f"objects of synsets that are not in the class map, left out: {counts}")
    return replace(
        truth,
        class_names=class_names,
        class_ids=synsets,
        class_numbers=class_numbers,
        image_numbers=tuple(numbers[str(name)] for name in truth.image_ids),
        files=tuple(f"{name}.JPEG" for name in truth.image_ids),
    )


def read_blacklist(path: Path, truth: GroundTruth) -> Blacklist:
    """Pairs of an image and a class to leave out of the evaluation, `data/ILSVRC2015_det_validation_blacklist.txt`.

    Each line has an image's number in the list and a synset, as eval_detection.m reads it, or a class's number.
    Lines about images or classes that `truth` lacks, such as those of another subset of the list, are ignored.

    Raises:
        InputError: the file cannot be read, or all lines are about other images or classes.
        FaultyDataError: a line is wrong; the fault names it.
    """
    images = {number: index for index, number in enumerate(truth.image_numbers)}
    labels: dict[str | int, int] = {synset: label for label, synset in enumerate(truth.class_ids)}
    labels |= {str(number): label for label, number in enumerate(truth.class_numbers)}
    faults = Faults()
    lines = []
    for line, fields in _lines(path):
        if len(fields) == 2 and _is_number(fields[0]):
            lines.append((images.get(int(fields[0]), -1), labels.get(fields[1], -1)))
        else:
            faults.add(path, line, f"is '{' '.join(fields)}', expected an image's number and a synset")
    faults.check()
    pairs = np.array(lines, np.int64).reshape(-1, 2)
    pairs = pairs[(pairs >= 0).all(axis=1)]
    if lines and not len(pairs):
        raise InputError(
            f"{path}: none of its {len(lines)} lines is about an image and a class of the data; give its own"
        )
    return Blacklist(pairs[:, 0], pairs[:, 1])


def _read_class_map(path: Path) -> tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """Synset, number and name of each class."""
    faults = Faults()
    rows: list[tuple[str, str, int, str]] = []
    for line, fields in _lines(path):
        if len(fields) < 3 or not _is_number(fields[1]):
            faults.add(path, line, f"is '{' '.join(fields)}', expected a synset, a number and a name")
        else:
            rows.append((line, fields[0], int(fields[1]), " ".join(fields[2:])))
    return _columns(path, rows, faults, "holds no class, expected a line a class with its synset, number and name")


def _read_image_list(path: Path) -> dict[str, int]:
    """The number of each image, by its name."""
    faults = Faults()
    rows: list[tuple[str, str, int]] = []
    for line, fields in _lines(path):
        name, number = fields[0], fields[1] if len(fields) > 1 else line.removeprefix("line ")
        check_file_name(name, f"{path}: {line}")
        if len(fields) > 2 or not _is_number(number):
            hint = "; the lists of one class, train_1.txt and so on, have flags instead" if number == "-1" else ""
            faults.add(path, line, f"is '{' '.join(fields)}', expected an image's name and its number{hint}")
        else:
            rows.append((line, name, int(number)))
    return dict(zip(*_columns(path, rows, faults, "lists no image"), strict=True))


def _columns(path: Path, rows: list, faults: Faults, nothing: str) -> tuple:
    """The columns of a list after the first, the names of its lines; each has distinct values."""
    lines, *columns = zip(*rows, strict=True) if rows else ((),)
    for values in columns:
        for row, first in repeated(values):
            faults.add(path, lines[row], f"has {values[row]}, like {lines[first]}")
    faults.check()
    if not rows:
        raise InputError(f"{path}: {nothing}")
    return tuple(columns)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10  # Python reads at most 4,300 digits


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The name in faults and the fields of each line that is not blank."""
    with open_text(Path(path)) as file:
        for number, line in enumerate(file, start=1):
            if fields := line.split():
                yield f"line {number}", fields
