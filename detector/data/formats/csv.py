"""Detections as comma-separated values, with the header image,class,score,x1,y1,x2,y2.

The image's id or file, the class's name, and the box in pixels, 0-based, right and bottom exclusive. Columns may come
in any order, and other columns are ignored. RFC 4180: a value with a comma or a quotation mark is quoted.
"""

import csv
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from detector.data.detection_table import DetectionTable
from detector.data.formats.collector import Collector, Row
from detector.data.formats.files import table_rows
from detector.data.formats.keys import check_names, image_index
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.io.text import open_text, write_text

HEADER = ("image", "class", "score", "x1", "y1", "x2", "y2")


def read_csv(path: Path, into: Collector, content: bytes) -> None:
    """Read a CSV file of that content; InputError if it is not CSV, or a column is missing or repeated."""
    into.add_rows(path, _rows(path, into, content), HEADER[2:], lambda values: (values[:, 1:], values[:, 0]))


def _rows(path: Path, into: Collector, content: bytes) -> Iterator[Row]:
    with open_text(path, newline="", content=content) as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            for name in HEADER:
                if header.count(name) != 1:
                    fault = "is repeated" if name in header else "is missing"
                    raise InputError(f"{path}: column {name} {fault}; the header is {','.join(HEADER)}")
            image, label, *numbers = map(header.index, HEADER)
            numbers_of = itemgetter(*numbers)
            for row in reader:
                if len(row) == len(header):
                    yield reader.line_num, row[image], row[label], *numbers_of(row)
                elif row:
                    fault = f"has {len(row)} values, the header {len(header)}"
                    into.faults.add(path, f"line {reader.line_num}", fault)
        except csv.Error as error:
            raise InputError(f"{path}: line {reader.line_num}: {error}") from None


def write_csv(
    path: Path, table: DetectionTable, truth: GroundTruth, tracks: Sequence[int | None] | None = None
) -> None:
    """Write a CSV file with all digits, so that `read_csv` returns the same table.

    Args:
        tracks: of the detections, for a column track_id.
    """
    ids = list(map(str, truth.image_ids))
    check_names(truth, ids, image_index(truth))
    with write_text(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER if tracks is None else (*HEADER, "track_id"))
        for row, (image, label, score, box) in enumerate(table_rows(table, table.boxes)):
            track = () if tracks is None else (tracks[row],)
            writer.writerow([ids[image], truth.class_names[label], score, *box, *track])
