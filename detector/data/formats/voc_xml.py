"""Detections as VOC's annotations, an XML file an image, for labeling programs to open and people to correct.

Boxes are whole pixels, counted from 1, xmax and ymax the object's last ones; `confidence`, which VOC's results of the
layout task have too, is the score.
"""

from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.formats.columns import to_inclusive
from detector.data.formats.files import new_folder, safe_name, valid_text
from detector.data.formats.keys import file_name, file_stems, image_names, stem
from detector.data.ground_truth import GroundTruth


def write_voc_xml(path: Path, table: DetectionTable, truth: GroundTruth) -> None:
    """Write a folder with a file for every image, named after the image's file; best detections first.

    Raises:
        InputError: the folder holds something or cannot be written, or two images have files of one name.
    """
    names = image_names(truth, [stem(file_name(file)) for file in truth.files], file_stems(truth))
    # By image, and in it by score.
    order = np.lexsort((-table.scores, table.images))
    ends = np.cumsum(np.bincount(table.images, minlength=len(names)))
    boxes = np.rint(to_inclusive(table.boxes)).astype(np.int64)
    # Rounding must not leave the image, nor make an object of a fraction of a pixel vanish.
    sizes = np.tile(truth.image_sizes[table.images], 2)
    boxes = np.clip(boxes, 1, np.where(sizes > 0, sizes, np.iinfo(np.int64).max))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    groups = np.split(order, ends[:-1]) if names else []
    with new_folder(path) as folder:
        for index, rows in enumerate(groups):
            width, height = truth.image_sizes[index].tolist()
            root = Element("annotation")
            _add(root, "folder", "")
            _add(root, "filename", _text(file_name(str(truth.image_ids[index]))))
            size = SubElement(root, "size")
            for tag, value in (("width", width), ("height", height), ("depth", 3)):
                _add(size, tag, value)
            _add(root, "segmented", 0)
            for row in rows.tolist():
                found = SubElement(root, "object")
                _add(found, "name", truth.class_names[table.labels[row]])
                _add(found, "pose", "Unspecified")
                _add(found, "truncated", 0)
                _add(found, "difficult", 0)
                _add(found, "confidence", table.scores[row])
                box = SubElement(found, "bndbox")
                for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), boxes[row].tolist(), strict=True):
                    _add(box, tag, value)
            indent(root)
            ElementTree(root).write(folder / f"{safe_name(names[index], everywhere=False)}.xml", encoding="utf-8")


def _add(parent: Element, tag: str, value: object) -> None:
    SubElement(parent, tag).text = _text(str(value))


def _text(text: str) -> str:
    """What XML can hold: names of files need not be valid text, and have control characters."""
    return "".join(c if c.isprintable() else "?" for c in valid_text(text))
