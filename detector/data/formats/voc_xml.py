"""Detections as VOC's annotations, an XML file an image, for people to correct in a labeling program.

Boxes are whole pixels, counted from 1; xmax and ymax are the object's last ones. `confidence`, which VOC's results of
the layout task have too, is the score.
"""

from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.formats.files import new_folder, safe_name, to_inclusive, valid_text
from detector.data.formats.keys import check_names, file_name, stem, stem_index
from detector.data.ground_truth import GroundTruth, rows_by_image


def write_voc_xml(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a folder with a file for every image, named after the image's file; best detections first.

    Raises:
        InputError: the folder is not empty or cannot be written, or two images have files of one name.
    """
    names = [stem(file_name(file)) for file in truth.files]
    check_names(truth, names, stem_index(truth))
    boxes = np.rint(to_inclusive(table.boxes)).astype(np.int64)
    # Rounding must not leave the image, nor make an object of a fraction of a pixel vanish.
    sizes = np.tile(truth.image_sizes[table.images], 2)
    boxes = np.clip(boxes, 1, np.where(sizes > 0, sizes, np.iinfo(np.int64).max))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    with new_folder(path) as folder:
        for index, rows in enumerate(rows_by_image(table.images, len(names), table.scores)):
            width, height = truth.image_sizes[index].tolist()
            root = Element("annotation")
            _add(root, folder="", filename=file_name(str(truth.image_ids[index])))
            _add(SubElement(root, "size"), width=width, height=height, depth=3)
            _add(root, segmented=0)
            for row in rows.tolist():
                item = SubElement(root, "object")
                _add(item, name=truth.class_names[table.labels[row]], pose="Unspecified", truncated=0, difficult=0,
                     confidence=table.scores[row])  # fmt: skip
                xmin, ymin, xmax, ymax = boxes[row].tolist()
                _add(SubElement(item, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
            indent(root)
            ElementTree(root).write(folder / f"{safe_name(names[index], everywhere=False)}.xml", encoding="utf-8")


def _add(parent: Element, **fields: object) -> None:
    """Append elements. Characters that XML cannot hold, which names of files may have, become question marks."""
    for tag, value in fields.items():
        text = valid_text(str(value))
        SubElement(parent, tag).text = "".join(c if c.isprintable() else "?" for c in text)
