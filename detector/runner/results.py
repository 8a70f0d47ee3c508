"""The results of a run over photos and videos in files of the field's formats, written from the run's journal."""

import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import InputError
from detector.io.json import write_json_lines
from detector.runner.video import Frame, Video, frame_name
from detector.runner.writers import check_folder, check_result_file, save_picture
from detector.storage.run_store import OutputError, source_of
from detector.structures.detections import Detections
from detector.structures.image import Image

if TYPE_CHECKING:
    from detector.data.detection_table import DetectionTable
    from detector.data.ground_truth import GroundTruth

_MADE = ".tmp-results-"
_Entries = Callable[[], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class ResultFiles:
    """Where results go; None for those that are not wanted.

    Attributes:
        json: a list with an entry a photo or frame.
        jsonl: the same entries, a line each, as they come.
        csv: `image,class,score,x1,y1,x2,y2`.
        coco: COCO's results, to 0.01 pixel and five digits of a score, and beside them the categories. An image's id is
            its file's name without extension, or its path if two files share that; as a number if all are numbers.
        yolo: folder of a text file an image, `class cx cy width height confidence`, and `data.yaml`.
        voc: folder of an annotation an image in VOC's XML, with a `confidence` each object.
        crops: folder of cut out objects, a folder a class.
    """

    json: Path | None = None
    jsonl: Path | None = None
    csv: Path | None = None
    coco: Path | None = None
    yolo: Path | None = None
    voc: Path | None = None
    crops: Path | None = None

    def paths(self) -> dict[str, Path]:
        """Those that are wanted, by their option."""
        given = {f"--{field.name}": getattr(self, field.name) for field in fields(self)}
        return {option: path for option, path in given.items() if path is not None}

    def check(self, photos: Sequence[Path], replaced: bool = False, hint: str = "") -> None:
        """Finds out before the work what could not be written after it.

        photos: the files that are read, in whose folders no folder of results may be.
        replaced: files that are there may be written over.
        hint: what is said besides where they may not.

        Raises `InputError`, which names the option, also if two are the same.
        """
        taken: dict[Path, str] = {}
        folders = {photo.parent.resolve() for photo in photos} if self.yolo or self.voc or self.crops else set()
        wanted = list(self.paths().items())
        if self.coco is not None:
            from detector.data.formats.coco import categories_path

            wanted.append(("--coco", categories_path(self.coco)))
        for option, path in wanted:
            other = taken.setdefault(path.resolve(), option)
            if other != option:
                raise InputError(f"{other} and {option} are both {path}; give two names")
            if option in ("--yolo", "--voc", "--crops"):
                if path.resolve() in folders:
                    raise InputError(f"{option} {path}: holds photos that are read; give another folder")
                check_folder(path, f"{option} {path}")
                there = any(path.iterdir())
            else:
                check_result_file(path, option)
                there = os.path.lexists(path)
            if there and not replaced:
                raise InputError(f"{option} {path}: is there already; --overwrite replaces it{hint}")


def photo_entry(image: Image, name: str, detections: Detections, seconds: float) -> dict[str, Any]:
    """What is kept of a photo, as plain values: boxes to 0.01 pixel, scores to six digits."""
    items = detections.to_dict()
    for item in items:
        item["box"] = [round(value, 2) for value in item["box"]]
        item["score"] = round(item["score"], 6)
    return {
        "image": name,
        "width": image.width,
        "height": image.height,
        "seconds": round(seconds, 4),
        "detections": items,
    }


def frame_entry(video: Video, frame: Frame, detections: Detections, seconds: float) -> dict[str, Any]:
    """What is kept of a frame: as of a photo, and the video, the frame's place from 0 and its time in seconds."""
    entry = photo_entry(frame.image, frame_name(video, frame.index), detections, seconds)
    place = {"video": video.name, "frame": frame.index, "time": round(frame.time, 3)}
    return {"image": entry.pop("image"), **place, **entry}


class LineFile:
    """Entries in JSON, a line each, written as they come; `before` is what an interrupted run had found."""

    def __init__(self, path: Path, before: Iterator[dict[str, Any]]) -> None:
        self._path = path
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
        for entry in before:
            self.add(entry)

    def add(self, entry: dict[str, Any]) -> None:
        """Raises `OutputError` if that fails."""
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror or error})") from None

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror or error})") from None


def save_crops(folder: Path, stem: str, image: Image, detections: Detections) -> None:
    """The found objects cut out, best first: FOLDER/CLASS/STEM-1.jpg, ... Raises `InputError` if that fails."""
    from detector.data.formats.files import safe_name

    for number, one in enumerate(detections, start=1):
        x1, y1 = (int(value) for value in one.box[:2])
        x2, y2 = (int(np.ceil(value)) for value in one.box[2:])
        place = folder / safe_name(one.label)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{place}: cannot be made ({error.strerror or error})") from None
        save_picture(place / f"{stem}-{number}.jpg", image.pixels[y1:y2, x1:x2])


def write_results(
    files: ResultFiles, entries: _Entries, classes: Mapping[str, int | str], stems: Mapping[str, str]
) -> list[InputError]:
    """Writes the files that are complete only at the end; what failed is returned, and the others are there.

    entries: gives the entries, once a call.
    classes: names and ids of those that the detector knows.
    stems: by the name of a photo or video, what its files are named after.
    """
    failed: list[InputError] = []

    def attempt(write: Callable[[], None]) -> None:
        try:
            write()
        except InputError as error:
            failed.append(error)
        except OSError as error:
            failed.append(InputError(f"{error.filename or 'output'}: cannot be written ({error.strerror or error})"))

    if files.json is not None:
        path = files.json
        attempt(lambda: write_json_lines(path, entries()))
    if any((files.csv, files.coco, files.yolo, files.voc)):
        attempt(lambda: failed.extend(_write_tables(files, entries, classes, stems)))
    return failed


def _write_tables(
    files: ResultFiles, entries: _Entries, classes: Mapping[str, int | str], stems: Mapping[str, str]
) -> list[InputError]:
    from detector.data.formats import write_detections
    from detector.data.formats.coco import with_numbers, write_coco
    from detector.data.formats.files import valid_text
    from detector.data.formats.places import file_name, stem
    from detector.data.formats.voc_xml import write_voc_xml

    truth, table = _gathered(entries(), classes, stems)
    names = [valid_text(str(one)) for one in truth.image_ids]
    named = replace(truth, image_ids=tuple(names), files=tuple(names))
    last = [stem(file_name(one)) for one in names]
    counted = replace(truth, image_ids=tuple(last if len(set(last)) == len(last) else names))

    def coco(path: Path) -> None:
        numbered, found = with_numbers(counted, _of(table, counted))
        write_coco(path, found, numbered, rounded=True)

    def folder(path: Path, write: Callable[[Path], None]) -> None:
        # The writers make a folder of their own, so that old files are never read as part of a new result. Here the
        # caller has asked for the files of an earlier run to be replaced, or the folder is empty.
        for left in path.glob(f"{_MADE}*"):  # by a run that was killed here
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=path, prefix=_MADE) as made:
            write(Path(made) / "new")
            for file in sorted((Path(made) / "new").iterdir()):
                shutil.move(file, path / file.name)

    failed = []
    for path, write in (
        (files.csv, lambda path: write_detections(path, _of(table, named), named, "csv")),
        (files.coco, coco),
        (files.yolo, lambda path: folder(path, lambda new: write_detections(new, table, truth, "yolo"))),
        (files.voc, lambda path: folder(path, lambda new: write_voc_xml(new, table, truth))),
    ):
        try:
            if path is not None:
                write(path)
        except InputError as error:
            failed.append(error)
        except OSError as error:
            failed.append(InputError(f"{path}: cannot be written ({error.strerror or error})"))
    return failed


def _of(table: "DetectionTable", truth: "GroundTruth") -> "DetectionTable":
    return replace(table, image_ids=truth.image_ids)


def _gathered(
    entries: Iterator[dict[str, Any]], classes: Mapping[str, int | str], stems: Mapping[str, str]
) -> "tuple[GroundTruth, DetectionTable]":
    """The images and their detections in columns, which take a tenth of the entries' memory."""
    from detector.data.detection_table import DetectionTable
    from detector.data.ground_truth import GroundTruth

    place = {name: label for label, name in enumerate(classes)}
    names: list[str] = []
    files: list[str] = []
    sizes, images, labels = array("q"), array("q"), array("q")
    boxes, scores = array("d"), array("d")
    for index, entry in enumerate(entries):
        names.append(entry["image"])
        stem = stems[source_of(entry)]
        files.append(f"{stem}#{entry['frame']:06d}.jpg" if "video" in entry else f"{stem}.jpg")
        sizes.extend((entry["width"], entry["height"]))
        for item in entry["detections"]:
            images.append(index)
            labels.append(place[item["label"]])
            boxes.extend(item["box"])
            scores.append(item["score"])
    none = np.zeros(0, np.int64)
    truth = GroundTruth(
        image_ids=tuple(names),
        class_names=tuple(classes),
        class_ids=tuple(classes.values()),
        images=none,
        labels=none,
        boxes=np.zeros((0, 4)),
        image_sizes=np.array(sizes, np.int64).reshape(-1, 2),
        files=tuple(files),
    )
    table = DetectionTable(
        image_ids=truth.image_ids,
        class_names=truth.class_names,
        images=np.array(images, np.int64),
        labels=np.array(labels, np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        scores=np.array(scores, np.float64),
    )
    return truth, table
