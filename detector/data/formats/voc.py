"""VOC's results: a text file a class, named such as comp4_det_test_cat.txt, with a line a detection: image score xmin
ymin xmax ymax.

Source: Everingham and Winn, The PASCAL VOC2007 Development Kit, section 6.4 (results of the detection task). Pixels
are counted from 1, and xmax, ymax are the last ones of the object.
"""

import re
from pathlib import Path

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector, Row
from detector.data.formats.files import (
    new_folder,
    result_files,
    safe_name,
    score_and_inclusive_box,
    table_rows,
    to_inclusive,
)
from detector.data.formats.keys import check_names, class_name_index, image_index
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

_FIELDS = ("score", "xmin", "ymin", "xmax", "ymax")
_OFFICIAL = re.compile(r"comp\d+_det_[^_]+_(.+)")


def class_of_file(name: str, truth: GroundTruth) -> str | None:
    """The class in a file's name, spelled as there: all of the name or what follows a '_'; None if there is no class.

    >>> truth = GroundTruth(image_ids=(), class_names=("tv", "traffic_light"), images=[], labels=[], boxes=[])
    >>> class_of_file("comp4_det_test_traffic_light.txt", truth), class_of_file("tvmonitor.txt", truth)
    ('traffic_light', 'tvmonitor')
    """
    index, stem = class_name_index(truth), name.removesuffix(".txt")
    official = _OFFICIAL.fullmatch(stem)
    parts = stem.split("_")
    candidates = [official[1]] if official else []
    candidates += ["_".join(parts[start:]) for start in range(len(parts))]
    return next((candidate for candidate in candidates if index[candidate] >= 0), None)


def read_voc(path: Path, into: Collector, content: bytes | None) -> None:
    """Read a folder of such files, or one file of that content."""
    file_of_class: dict[int, Path] = {}
    for file, text in result_files(path, content):
        official = _OFFICIAL.fullmatch(file.stem)
        name = class_of_file(file.name, into.truth) or (official[1] if official else file.stem)
        label = into.classes[name]
        if label >= 0 and (first := file_of_class.setdefault(label, file)) != file:
            raise InputError(f"{path}: {first.name} and {file.name} are of the same class; remove one")

        def parse(line: str, name: str = name) -> Row:
            image, *values = line.rsplit(None, len(_FIELDS))
            if len(values) < len(_FIELDS) or (" " in image and into.images[image] < 0):
                raise InputError(f"has {len(line.split())} columns, expected image score xmin ymin xmax ymax")
            return image, name, *values

        into.add_rows(file, into.parse_lines(file, text, parse), _FIELDS, score_and_inclusive_box)


def write_voc(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a folder with comp4_det_test_CLASS.txt for every class, with all digits.

    `read_voc` returns left and top up to the last bit of a float64, the rest exactly.

    Raises:
        InputError: the folder is not empty or cannot be written, or a class or image has a name that a file or a
            line cannot hold.
    """
    ids = list(map(str, truth.image_ids))
    check_names(truth, ids, image_index(truth))
    for image_id in ids:
        if not image_id or image_id != image_id.strip() or not image_id.isprintable():
            raise InputError(f"image id {image_id!r} cannot stand in a line of text; choose another format")
    rows = [(ids[image], score, *box) for image, _, score, box in table_rows(table, to_inclusive(table.boxes))]
    with new_folder(path) as folder:
        for label, name in enumerate(truth.class_names):
            with (folder / f"comp4_det_test_{safe_name(name)}.txt").open("w", encoding="utf-8") as file:
                file.writelines(" ".join(map(str, rows[row])) + "\n" for row in (table.labels == label).nonzero()[0])
