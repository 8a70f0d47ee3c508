"""VOC's annotations, an XML file an image: detections, for people to correct in a labeling program, and labels.

Boxes are whole pixels, counted from 1; xmax and ymax are the object's last ones. `confidence`, which VOC's results of
the layout task have too, is the score.
"""

from collections.abc import Sequence
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
    boxes = to_inclusive(table.boxes)
    with new_folder(path) as folder:
        for index, rows in enumerate(rows_by_image(table.images, len(names), table.scores)):
            write_annotation(
                folder / f"{safe_name(names[index], everywhere=False)}.xml",
                file_name(str(truth.image_ids[index])),
                tuple(truth.image_sizes[index].tolist()),
                [truth.class_names[label] for label in table.labels[rows].tolist()],
                boxes[rows],
                confidence=table.scores[rows].tolist(),
            )


def write_annotation(
    path: Path,
    image: str,
    size: tuple[int, int],
    names: Sequence[str],
    boxes: np.ndarray,
    difficult: Sequence[bool] | None = None,
    confidence: Sequence[float] | None = None,
) -> None:
    """Write the annotation of one image.

    Args:
        image: its file's name.
        size: width and height, 0 if unknown.
        names: (N,) of the objects' classes.
        boxes: (N, 4) xmin, ymin, xmax, ymax, 1-based with the last pixel included; they are rounded to whole pixels.
        difficult: (N,), by default False.
        confidence: (N,), left out by default.
    """
    limit = np.array([*size, *size])
    # Rounding must not leave the image, nor make an object of a fraction of a pixel vanish.
    whole = np.clip(np.rint(boxes).astype(np.int64), 1, np.where(limit > 0, limit, np.iinfo(np.int64).max))
    whole[:, 2:] = np.maximum(whole[:, 2:], whole[:, :2])
    root = Element("annotation")
    _add(root, folder="", filename=image)
    _add(SubElement(root, "size"), width=size[0], height=size[1], depth=3)
    _add(root, segmented=0)
    for row, (name, (xmin, ymin, xmax, ymax)) in enumerate(zip(names, whole.tolist(), strict=True)):
        item = SubElement(root, "object")
        flag = int(difficult is not None and difficult[row])
        _add(item, name=name, pose="Unspecified", truncated=0, difficult=flag)
        if confidence is not None:
            _add(item, confidence=confidence[row])
        _add(SubElement(item, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    indent(root)
    ElementTree(root).write(path, encoding="utf-8")


def _add(parent: Element, **fields: object) -> None:
    """Append elements. Characters that XML cannot hold, which names of files may have, become question marks."""
    for tag, value in fields.items():
        text = valid_text(str(value))
        SubElement(parent, tag).text = "".join(c if c.isprintable() else "?" for c in text)
