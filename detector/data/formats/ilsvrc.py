"""Submissions to ILSVRC's detection task: a text file with a line a detection, image_index class_id score xmin ymin
xmax ymax.

Source: the development kit's readme.txt (2014 and 2015), section 2.4. The image index is the number of its line in
ImageSets/DET/val.txt, from 1. The class id is ILSVRC_DET_ID, 1 to 200 in the order of meta_det.mat. The readme does
not say how pixels are counted; its eval_detection.m compares the numbers with those of the annotations as they are
and takes xmax, ymax for the last pixels, so both are read like VOC's: from 1, the last included.
"""

from pathlib import Path
from typing import BinaryIO

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector
from detector.data.formats.columns import add_rows, from_inclusive, to_inclusive
from detector.data.formats.files import read_lines, text_file
from detector.data.formats.keys import UNKNOWN, Key, Places, is_number
from detector.data.ground_truth import GroundTruth

_FIELDS = ("score", "xmin", "ymin", "xmax", "ymax")
_COLUMNS = "image_index class_id score xmin ymin xmax ymax"


def class_numbers(truth: GroundTruth) -> dict[Key, int]:
    """Indices of classes by `truth.class_numbers` as text, or by their synsets."""
    places: dict[Key, int] = {str(number): index for index, number in enumerate(truth.class_numbers)}
    return places | {one: index for index, one in enumerate(truth.class_ids) if isinstance(one, str)}


def read_ilsvrc(path: Path, into: Collector, content: BinaryIO | None = None) -> None:
    """Read a submission, from `content` if it is open already; images go by `truth.image_numbers`.

    Classes may also be named by synsets where these are `truth.class_ids`.

    Raises:
        InputError: the file cannot be read, or has too many faults.
    """
    places = {number: index for index, number in enumerate(into.truth.image_numbers)}
    into.known_images = into.truth.image_numbers
    into.images = Places(lambda key: places.get(int(key), UNKNOWN))
    into.find_classes_by(class_numbers(into.truth))
    for lines, texts in read_lines(path, content):
        numbers, images, classes, fields = [], [], [], []
        for line, text in zip(lines, texts, strict=True):
            row = text.split()
            if len(row) != 2 + len(_FIELDS):
                into.faults.add(path, f"line {line}", f"has {len(row)} columns, expected {_COLUMNS}")
            elif not is_number(row[0]) or not int(row[0]):
                fault = f"field image_index is {row[0][:40]!r}, expected a number from 1 on"
                into.faults.add(path, f"line {line}", fault)
            else:
                numbers.append(line)
                images.append(int(row[0]))
                classes.append(row[1])
                fields.append(row[2:])
        add_rows(into, path, numbers, images, classes, fields, _FIELDS,
                 lambda values: (from_inclusive(values[:, 1:]), values[:, 0]))  # fmt: skip


def write_ilsvrc(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a submission, with all digits.

    Left and top are read again to the last bit of 64; the rest as it was.

    Raises:
        InputError: the file cannot be written.
    """
    numbers = {index: key for key, index in reversed(list(class_numbers(truth).items()))}
    boxes = to_inclusive(table.boxes).tolist()
    columns = zip(table.images.tolist(), table.labels.tolist(), table.scores.tolist(), boxes, strict=True)
    with text_file(path) as file:
        for image, label, score, box in columns:
            file.write(" ".join(map(str, [truth.image_numbers[image], numbers[label], score, *box])) + "\n")
