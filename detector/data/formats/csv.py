"""Detections as comma-separated values, with the header image,class,score,x1,y1,x2,y2.

The image's id or file, the class's name, and the box in pixels, 0-based, right and bottom exclusive. Columns may come
in any order and others beside them. RFC 4180: a value with a comma or a quotation mark is quoted.
"""

import csv
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector
from detector.data.formats.columns import add_rows
from detector.data.formats.files import BATCH, text_file
from detector.data.formats.keys import image_names
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.io.text import opened

HEADER = ("image", "class", "score", "x1", "y1", "x2", "y2")


def read_csv(path: Path, into: Collector, content: BinaryIO | None = None) -> None:
    """Read such a file, from `content` if it is open already.

    Raises:
        InputError: the file cannot be read, a column is missing or comes twice, or there are too many faults.
    """
    with opened(path, newline="", content=content) as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            for name in HEADER:
                if header.count(name) != 1:
                    fault = "comes twice" if name in header else "is missing"
                    raise InputError(f"{path}: column {name} {fault}; the header is {','.join(HEADER)}")
            image, label, *places = map(header.index, HEADER)
            numbers_of = itemgetter(*places)
            rows = ((reader.line_num, row) for row in reader if row)
            while batch := list(islice(rows, BATCH)):
                for line, row in batch:
                    if len(row) != len(header):
                        into.faults.add(path, f"line {line}", f"has {len(row)} values, the header {len(header)}")
                whole = [one for one in batch if len(one[1]) == len(header)]
                add_rows(
                    into,
                    path,
                    lines=[line for line, _ in whole],
                    images=[row[image] for _, row in whole],
                    classes=[row[label] for _, row in whole],
                    texts=[numbers_of(row) for _, row in whole],
                    fields=HEADER[2:],
                    convert=lambda values: (values[:, 1:], values[:, 0]),
                )
        except csv.Error as error:
            raise InputError(f"{path}: line {reader.line_num}: {error}") from None


def write_csv(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write such a file, with all digits: read again, the table is as it was.

    Raises:
        InputError: the file cannot be written.
    """
    ids = image_names(truth, list(map(str, truth.image_ids)))
    columns = zip(
        table.images.tolist(), table.labels.tolist(), table.scores.tolist(), table.boxes.tolist(), strict=True
    )
    with text_file(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for image, label, score, box in columns:
            writer.writerow([ids[image], truth.class_names[label], score, *box])
