"""VOC's results: a text file a class, named such as comp4_det_test_cat.txt, with a line a detection: image score xmin
ymin xmax ymax.

Source: Everingham and Winn, The PASCAL VOC2007 Development Kit, section 6.4 (results of the detection task). Pixels
are counted from 1 and xmax, ymax are the last ones of the object.
"""

import re
from pathlib import Path
from typing import BinaryIO

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector
from detector.data.formats.columns import add_rows, from_inclusive, to_inclusive
from detector.data.formats.files import new_folder, read_lines, safe_name
from detector.data.formats.keys import by_class_name, image_names
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

_FIELDS = ("score", "xmin", "ymin", "xmax", "ymax")
_LINE = "expected image score xmin ymin xmax ymax"
_OFFICIAL = re.compile(r"comp\d+_det_[^_]+_(.+)")


def class_of_file(name: str, truth: GroundTruth) -> str | None:
    """The class that a file is named after, as its name spells it: all of it or what follows a '_'; None for none.

    >>> truth = GroundTruth(image_ids=(), class_names=("tv", "traffic_light"), images=[], labels=[], boxes=[])
    >>> class_of_file("comp4_det_test_traffic_light.txt", truth), class_of_file("tvmonitor.txt", truth)
    ('traffic_light', 'tvmonitor')
    """
    places, stem = by_class_name(truth), name.removesuffix(".txt")
    official = _OFFICIAL.fullmatch(stem)
    parts = stem.split("_")
    candidates = [official[1]] if official else []
    candidates += ["_".join(parts[start:]) for start in range(len(parts))]
    return next((one for one in candidates if places[one] >= 0), None)


def read_voc(path: Path, into: Collector, content: BinaryIO | None = None) -> None:
    """Read a folder of such files, or one of them, from `content` if it is open already.

    Raises:
        InputError: there is no such file, one cannot be read, two are of the same class, or there are too many faults.
    """
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: holds no .txt files, one a class such as comp4_det_test_cat.txt")
    seen: dict[int, Path] = {}
    for file in files:
        official = _OFFICIAL.fullmatch(file.stem)
        name = class_of_file(file.name, into.truth) or (official[1] if official else file.stem)
        label = into.classes[name]
        if label >= 0 and seen.setdefault(label, file) != file:
            raise InputError(f"{path}: {seen[label].name} and {file.name} are of the same class; leave one")
        for lines, texts in read_lines(file, content):
            numbers, images, fields = [], [], []
            for line, text in zip(lines, texts, strict=True):
                image, *values = text.rsplit(None, len(_FIELDS))
                if len(values) < len(_FIELDS) or (" " in image and into.images[image] < 0):
                    into.faults.add(file, f"line {line}", f"has {len(text.split())} columns, {_LINE}")
                    continue
                numbers.append(line)
                images.append(image)
                fields.append(values)
            add_rows(into, file, numbers, images, [name] * len(images), fields, _FIELDS,
                     lambda values: (from_inclusive(values[:, 1:]), values[:, 0]))  # fmt: skip


def write_voc(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a folder with comp4_det_test_CLASS.txt for every class, with all digits.

    Left and top are read again to the last bit of 64; the rest as it was.

    Raises:
        InputError: the folder holds something or cannot be written, or a class or image has a name that a file or a
            line cannot hold.
    """
    ids = image_names(truth, list(map(str, truth.image_ids)))
    for image_id in ids:
        if not image_id or image_id != image_id.strip() or not image_id.isprintable():
            raise InputError(f"image id {image_id!r} cannot stand in a line of text; choose another format")
    columns = table.images.tolist(), table.scores.tolist(), to_inclusive(table.boxes).tolist()
    rows = [(ids[image], score, *box) for image, score, box in zip(*columns, strict=True)]
    with new_folder(path) as folder:
        for label, name in enumerate(truth.class_names):
            with (folder / f"comp4_det_test_{safe_name(name)}.txt").open("w", encoding="utf-8") as file:
                file.writelines(" ".join(map(str, rows[row])) + "\n" for row in (table.labels == label).nonzero()[0])
