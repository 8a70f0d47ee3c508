"""Reader of the ground truth of the ILSVRC detection task (DET).

The annotations are XML in VOC's format whose `name` is a synset, `n02691156`. The development kit's eval_detection.m
computes the width as xmax - xmin + 1: like VOC's, both ends are inclusive, and a box becomes (xmin - 1, ymin - 1, xmax,
ymax) here. It neither clips a box nor compares it with the size of the image, and some annotations count from 0; such a
box begins at -1 here, and keeps the width and the overlaps that the development kit computes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.data.blacklist import Blacklist
from detector.data.faults import Faults, ReadReport
from detector.data.ground_truth import GroundTruth
from detector.data.voc_xml import Box, box_of, image_size, parse_xml, text_of
from detector.errors import InputError
from detector.io.text import open_text


@dataclass(frozen=True, eq=False, kw_only=True)
class ILSVRCData:
    """Ground truth of the detection task.

    Attributes:
        truth: `image_ids` are the images' names, `class_ids` the synsets, `image_numbers` those of the list, which
            results and the blacklist use, and `class_numbers` those of the map (ILSVRC_DET_ID).
        other_synsets: number of objects of each synset that is not in the map. They are left out.
    """

    truth: GroundTruth
    other_synsets: Mapping[str, int]


def read_ilsvrc(
    annotations: Path,
    image_list: Path,
    class_map: Path,
    *,
    report: ReadReport | None = None,
) -> ILSVRCData:
    """The objects in the images of a list.

    Args:
        annotations: the folder of the XML files, such as `Annotations/DET/val`.
        image_list: a line an image, its name and number: `ILSVRC2012_val_00000001 1` (`ImageSets/DET/val.txt`). The
            number defaults to that of the line.
        class_map: a line a class, its synset, number and name: `n02672831 1 accordion` (`map_det.txt`).
        report: collects the faults; images whose annotation cannot be read are left out. By default they are raised.

    Raises:
        InputError: a file or folder cannot be read.
        FaultyDataError: a file has faults; each names the file, the line or object, and the field.
    """
    annotations = Path(annotations)
    if not annotations.is_dir():
        raise InputError(f"{annotations}: no such folder; give the folder of the XML files")
    classes = _read_class_map(Path(class_map))
    images = _read_image_list(Path(image_list))
    labels = {synset: label for label, (synset, _, _) in enumerate(classes)}

    faults = Faults() if report is None else report.faults
    sizes = np.zeros((len(images), 2), np.int64)
    readable: list[int] = []
    rows: list[int] = []
    objects: list[tuple[int, Box]] = []
    other: Counter[str] = Counter()
    missing = 0
    for index, (name, _) in enumerate(images):
        path = annotations / f"{name}.xml"
        try:
            root = parse_xml(path.read_bytes())
            sizes[index] = image_size(root)
        except FileNotFoundError:
            faults.add(path, "", f"no such annotation, but {image_list} lists {name}")
            missing += 1
            continue
        except (OSError, InputError) as error:
            faults.add(path, "", f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error))
            continue
        readable.append(index)
        for number, element in enumerate(root.iterfind("object"), start=1):
            try:
                synset = text_of(element, "name")
                box = box_of(element, None)
            except InputError as error:
                faults.add(path, f"object {number}", str(error))
                continue
            if synset in labels:
                rows.append(index)
                objects.append((labels[synset], box))
            else:
                other[synset] += 1
    if missing == len(images):
        faults.add(annotations, "", f"holds no annotation of any image in {image_list}")
    if report is None or missing == len(images):
        faults.check()
    truth = GroundTruth(
        image_ids=tuple(name for name, _ in images),
        class_names=tuple(name for _, _, name in classes),
        class_ids=tuple(synset for synset, _, _ in classes),
        images=np.array(rows, np.int64),
        labels=np.array([label for label, _ in objects], np.int64),
        boxes=np.array([box for _, box in objects], np.float64).reshape(-1, 4),
        image_sizes=sizes,
        files=tuple(f"{name}.JPEG" for name, _ in images),
        image_numbers=tuple(number for _, number in images),
        class_numbers=tuple(number for _, number, _ in classes),
    )
    return ILSVRCData(truth=truth.of_images(readable), other_synsets=dict(sorted(other.items())))


def read_blacklist(path: Path, truth: GroundTruth) -> Blacklist:
    """Pairs of an image and a class to leave out of the evaluation, `data/ILSVRC2015_det_validation_blacklist.txt`.

    Each line has an image's number in the list and a synset, as eval_detection.m reads it, or a class's number.
    Lines about images or classes that `truth` lacks, such as those of another subset of the list, are ignored.

    Raises:
        InputError: the file cannot be read, or all lines are about other images or classes.
        FaultyDataError: a line is wrong; the fault names it.
    """
    images = {number: index for index, number in enumerate(truth.image_numbers)}
    labels: dict[str | int, int] = {synset: label for label, synset in enumerate(truth.class_ids)}
    labels |= {str(number): label for label, number in enumerate(truth.class_numbers)}
    faults = Faults()
    pairs = []
    count = 0
    for line, fields in _lines(path):
        if len(fields) != 2 or not _is_number(fields[0]):
            faults.add(path, line, f"is '{' '.join(fields)}', expected an image's number and a synset")
            continue
        count += 1
        if int(fields[0]) in images and fields[1] in labels:
            pairs.append((images[int(fields[0])], labels[fields[1]]))
    faults.check()
    if count and not pairs:
        raise InputError(
            f"{path}: none of its {count} lines is about an image and a class of the data; give the data's blacklist"
        )
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    return Blacklist(columns[:, 0], columns[:, 1])


def _read_class_map(path: Path) -> list[tuple[str, int, str]]:
    """Synset, number and name of each class; such as `aircraft_carrier`."""
    faults = Faults()
    classes: list[tuple[str, int, str]] = []
    first_line: dict[str | int, str] = {}
    for line, fields in _lines(path):
        if len(fields) < 3 or not _is_number(fields[1]):
            faults.add(path, line, f"is '{' '.join(fields)}', expected a synset, a number and a name")
            continue
        synset, number, name = fields[0], int(fields[1]), " ".join(fields[2:])
        # Texts of both columns in one dictionary: a synset never equals a name.
        for value in (synset, number, name):
            if first_line.setdefault(value, line) != line:
                faults.add(path, line, f"has {value}, like {first_line[value]}")
        classes.append((synset, number, name))
    faults.check()
    if not classes:
        raise InputError(f"{path}: holds no class, expected a line a class with its synset, number and name")
    return classes


def _read_image_list(path: Path) -> list[tuple[str, int]]:
    faults = Faults()
    images: list[tuple[str, int]] = []
    first_line: dict[str | int, str] = {}
    for line, fields in _lines(path):
        name, number = fields[0], fields[1] if len(fields) > 1 else line.removeprefix("line ")
        if len(fields) > 2 or not _is_number(number):
            hint = "; the lists of one class, train_1.txt and so on, have flags instead" if number == "-1" else ""
            faults.add(path, line, f"is '{' '.join(fields)}', expected an image's name and its number{hint}")
            continue
        if not name.isprintable():
            faults.add(path, line, f"name {name!r} is not the name of a file")
            continue
        if Path(name).is_absolute() or ".." in Path(name).parts:
            faults.add(path, line, f"name '{name}' points outside the folder of the annotations")
        for value in (name, int(number)):
            if first_line.setdefault(value, line) != line:
                faults.add(path, line, f"has {value}, like {first_line[value]}")
        images.append((name, int(number)))
    faults.check()
    if not images:
        raise InputError(f"{path}: lists no image")
    return images


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10  # Python reads at most 4,300 digits


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The name in faults and the fields of each line that is not blank."""
    with open_text(Path(path)) as file:
        for number, line in enumerate(file, start=1):
            if fields := line.split():
                yield f"line {number}", fields
