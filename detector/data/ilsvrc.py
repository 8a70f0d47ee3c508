"""Data sets of ILSVRC's detection task (DET).

Annotations are XML like PASCAL VOC's, with synsets (n02691156) as names. The development kit's eval_detection.m takes
xmax and ymax for the last pixels, as VOC does, and so does the reader; it does not say whether pixels count from 0 or
from 1, and as annotations and detections are read alike, it makes no difference.

Source: the development kit's readme.txt and data (`map_det.txt`, `det_lists/val.txt`, the blacklist).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.data.faults import Faults
from detector.data.ground_truth import GroundTruth, check_distinct, column
from detector.data.voc_xml import parse_annotation
from detector.errors import InputError


@dataclass(frozen=True, eq=False)
class Blacklist:
    """Pairs of an image and a class that are not judged, for their annotation is known to be wrong or missing.

    Attributes:
        images, labels: (B,) int64, indices into the ground truth's `image_ids` and `class_names`.
    """

    images: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            object.__setattr__(self, name, column(name, getattr(self, name), np.int64, (len(self.images),)))


def read_ilsvrc(annotations: Path, image_list: Path, class_map: Path) -> tuple[GroundTruth, dict[str, int]]:
    """The ground truth of the images of a list, and the number of objects of each synset that is no class.

    The development kit leaves such objects out, and so does the reader. `class_ids` are the numbers of the class map,
    which detections are submitted with.

    Args:
        annotations: folder of the XML files, in which an image's file has the path of its name in the list.
        image_list: a line an image, `ILSVRC2012_val_00000001 1`: its name, and its number from 1 on, which may be
            left out.
        class_map: a line a class, `n02672831 1 accordion`: synset, number, name.

    Raises:
        FaultyDataError: annotations are missing or wrong; names them all, up to a limit.
        InputError: one of the files cannot be read, or a line of it is wrong.
    """
    synsets, numbers, names = _classes(class_map)
    images = [fields[0] for _, fields in _lines(image_list, 1, 2, "a name and a number")]
    if not images:
        raise InputError(f"{image_list}: lists no image")
    check_distinct(f"{image_list}: images", images)
    labels = {synset: label for label, synset in enumerate(synsets)}
    found: list[Annotations] = []
    faults, others = Faults(), Counter[str]()
    for image in images:
        path = annotations / f"{image}.xml"
        try:
            found.append(parse_annotation(path.read_bytes(), labels, others))
        except OSError as error:
            faults.note(f"{path}: cannot be read: {error.strerror or error}; {image_list} lists it")
        except InputError as error:
            faults.note(f"{path}: {error}")
    faults.check()
    files = [f"{image}.JPEG" for image in images]
    boxes = GroundTruth.from_annotations(images, found, names, files, numbers)
    return boxes, dict(others.most_common())


def read_blacklist(path: Path, truth: GroundTruth) -> Blacklist:
    """What is not judged: a line a pair, `image_index class_id`, the number of the image in its list, from 1 on, and
    the number of the class.

    Raises:
        InputError: the file cannot be read, or a line of it is wrong.
    """
    images, labels = [], []
    places = {number: label for label, number in enumerate(truth.class_ids)}
    for where, (image, number) in _lines(path, 2, 2, "an image index and a class id"):
        if not (image.isdecimal() and 1 <= int(image) <= len(truth.image_ids)):
            raise InputError(f"{where}: image index {image} is not in 1..{len(truth.image_ids)}")
        if not (number.isdecimal() and int(number) in places):
            raise InputError(f"{where}: class id {number} is that of no class")
        images.append(int(image) - 1)
        labels.append(places[int(number)])
    return Blacklist(np.array(images, np.int64), np.array(labels, np.int64))


def _classes(path: Path) -> tuple[list[str], list[int], list[str]]:
    synsets, numbers, names = [], [], []
    for where, (synset, number, *words) in _lines(path, 3, None, "a synset, a number and a name"):
        if not number.isdecimal():
            raise InputError(f"{where}: '{number}' is no number of a class")
        synsets.append(synset)
        numbers.append(int(number))
        names.append(" ".join(words))
    if not synsets:
        raise InputError(f"{path}: names no class")
    for what, values in (("synsets", synsets), ("numbers", numbers), ("names", names)):
        check_distinct(f"{path}: {what}", values)
    return synsets, numbers, names


def _lines(path: Path, least: int, most: int | None, expected: str) -> Iterator[tuple[str, list[str]]]:
    """Where a line is and its fields, of the lines that are not blank."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InputError(f"{path}: cannot be read: {reason}") from None
    for line, text in enumerate(content.splitlines(), start=1):
        fields = text.split()
        if fields and not least <= len(fields) <= (most or len(fields)):
            raise InputError(f"{path}: line {line}: has {len(fields)} fields, expected {expected}")
        if fields:
            yield f"{path}: line {line}", fields
