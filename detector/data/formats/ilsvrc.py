"""Submissions to ILSVRC's detection task: a text file with a line a detection, image_index class_id score xmin ymin
xmax ymax.

Source: the development kit's readme.txt (2014 and 2015), section 2.4. The image index is the number of its line in
ImageSets/DET/val.txt, from 1. The class id is ILSVRC_DET_ID, 1 to 200 in the order of meta_det.mat. The readme does
not say how pixels are counted; its eval_detection.m compares the numbers with those of the annotations unchanged and
takes xmax, ymax for the last pixels, so both are read like VOC's: 1-based, the last pixel included.
"""

from pathlib import Path

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector, Row
from detector.data.formats.files import score_and_inclusive_box, table_rows, to_inclusive
from detector.data.formats.keys import UNKNOWN, Key, KeyIndex, is_number
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.io.text import write_text

_FIELDS = ("score", "xmin", "ymin", "xmax", "ymax")
_COLUMNS = "image_index class_id score xmin ymin xmax ymax"


def _class_index(truth: GroundTruth) -> dict[Key, int]:
    """Indices of classes by `truth.class_numbers` as text, and by their synsets."""
    indices: dict[Key, int] = {str(number): index for index, number in enumerate(truth.class_numbers)}
    return indices | {synset: index for index, synset in enumerate(truth.class_ids) if isinstance(synset, str)}


def read_ilsvrc(path: Path, into: Collector, content: bytes) -> None:
    """Read a submission of that content; images are numbered by `truth.image_numbers`.

    Classes may also be named by synsets if these are `truth.class_ids`.
    """
    indices = {number: index for index, number in enumerate(into.truth.image_numbers)}
    into.image_keys = into.truth.image_numbers
    into.images = KeyIndex(lambda key: indices.get(int(key), UNKNOWN))
    into.find_classes_by(_class_index(into.truth))
    into.add_rows(path, into.parse_lines(path, content, _parse), _FIELDS, score_and_inclusive_box)


def _parse(text: str) -> Row:
    fields = text.split()
    if len(fields) != 2 + len(_FIELDS):
        raise InputError(f"has {len(fields)} columns, expected {_COLUMNS}")
    if not is_number(fields[0]) or not int(fields[0]):
        raise InputError(f"field image_index is {fields[0][:40]!r}, expected a number from 1 on")
    return int(fields[0]), *fields[1:]


def write_ilsvrc(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a submission, with all digits.

    `read_ilsvrc` returns left and top up to the last bit of a float64, the rest exactly.
    """
    class_keys = {index: key for key, index in reversed(list(_class_index(truth).items()))}
    with write_text(path) as file:
        for image, label, score, box in table_rows(table, to_inclusive(table.boxes)):
            file.write(" ".join(map(str, [truth.image_numbers[image], class_keys[label], score, *box])) + "\n")
