"""The results of a run over photos and videos in common file formats, written from the run's store."""

import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import InputError
from detector.runner.video import Frame, Video, frame_name
from detector.runner.writers import check_folder, check_result_file
from detector.storage.run_store import source_of, writing
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.visualization.files import save_picture

if TYPE_CHECKING:
    from detector.data.detection_table import DetectionTable
    from detector.data.ground_truth import GroundTruth

_TEMPORARY = ".tmp-results-"
_Entries = Callable[[], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class ResultFiles:
    """Where results are written; None for formats that are not requested.

    Attributes:
        json: a list with an entry per photo or frame, in the native format; the first also holds the `classes`.
        jsonl: the same entries as lines, without `classes`, written while the run is in progress.
        csv: `image,class,score,x1,y1,x2,y2`.
        coco: COCO results, to 0.01 pixel and five digits of a score, with the categories in a second file. An image's
            id is its file name without extension, or its path if two files share that name; numbers become integers.
        yolo: folder with a text file per image, `class cx cy width height confidence`, and `data.yaml`.
        voc: folder with a VOC annotation (XML) per image, with a `confidence` per object.
        ilsvrc: a submission to ILSVRC's detection task: `image_index class_id score xmin ymin xmax ymax`. Images are
            numbered in the order of the run, and classes in that of the detector, both from 1.
        crops: folder with a crop of each object, in one folder per class.
    """

    json: Path | None = None
    jsonl: Path | None = None
    csv: Path | None = None
    coco: Path | None = None
    yolo: Path | None = None
    voc: Path | None = None
    ilsvrc: Path | None = None
    crops: Path | None = None

    def check(self, photos: Sequence[Path], overwrite: bool = False, hint: str = "") -> None:
        """Checks before the run that every output can be written.

        Args:
            photos: the input files; no folder of results may hold one.
            overwrite: existing files may be replaced.
            hint: ends the message about an existing file.

        Raises:
            InputError: an option's file or folder exists, cannot be written, or is that of another option.
        """
        outputs: list[tuple[str, Path]] = [(f"--{name}", path) for name, path in vars(self).items() if path is not None]
        inputs = {photo.parent.resolve() for photo in photos} if self.yolo or self.voc or self.crops else set()
        taken: dict[Path, str] = {}
        if self.coco is not None:
            from detector.data.formats.coco import categories_path

            outputs.append(("--coco", categories_path(self.coco)))
        for option, path in outputs:
            first = taken.setdefault(path.resolve(), option)
            if first != option:
                raise InputError(f"{first} and {option} are both {path}; give two names")
            if option in ("--yolo", "--voc", "--crops"):
                if path.resolve() in inputs:
                    raise InputError(f"{option} {path}: holds photos of the input; give another folder")
                check_folder(path, f"{option} {path}")
                exists = any(path.iterdir())
            else:
                check_result_file(path, option)
                exists = os.path.lexists(path)
            if exists and not overwrite:
                raise InputError(f"{option} {path}: already exists; --overwrite replaces it{hint}")


def photo_entry(name: str, detections: Detections, seconds: float) -> dict[str, Any]:
    """The result of a photo as plain values: boxes to 0.01 pixel, scores to six digits."""
    return {**detections.to_entry(seconds=round(seconds, 4)), "image": name}


def frame_entry(video: Video, frame: Frame, detections: Detections, seconds: float) -> dict[str, Any]:
    """The result of a frame: as of a photo, with the video, the frame's number from 0 and its time in seconds."""
    entry = photo_entry(frame_name(video, frame.index), detections, seconds)
    position = {"video": video.name, "frame": frame.index, "time": round(frame.time, 3)}
    return {"image": entry.pop("image"), **position, **entry}


class LineFile:
    """Entries as JSON lines, written one by one; a resumed run first repeats those in its store.

    Raises:
        OutputError: by all methods, if the file cannot be written.
    """

    def __init__(self, path: Path, entries: Iterator[dict[str, Any]]) -> None:
        self._path = path
        with writing(path):
            self._file = path.open("w", encoding="utf-8")
        for entry in entries:
            self.add(entry)

    def add(self, entry: dict[str, Any]) -> None:
        with writing(self._path):
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def close(self) -> None:
        with writing(self._path):
            self._file.close()


def save_crops(folder: Path, stem: str, image: Image, detections: Detections) -> None:
    """Writes a crop of each object, best first: FOLDER/CLASS/STEM-1.jpg, ... Raises `InputError` if that fails."""
    from detector.data.formats.files import safe_name

    for number, detection in enumerate(detections, start=1):
        x1, y1 = (int(value) for value in detection.box[:2])
        x2, y2 = (int(np.ceil(value)) for value in detection.box[2:])
        class_folder = folder / safe_name(detection.label)
        with writing(class_folder, InputError):
            class_folder.mkdir(parents=True, exist_ok=True)
        save_picture(class_folder / f"{stem}-{number}.jpg", image.pixels[y1:y2, x1:x2])


def write_results(
    files: ResultFiles, entries: _Entries, classes: Mapping[str, int | str], stems: Mapping[str, str]
) -> list[InputError]:
    """Writes the files that are complete only at the end.

    Args:
        entries: returns an iterator over the results; called once per pass.
        classes: names and ids of the classes that the detector knows.
        stems: by the name of a photo or video, what its files are named after.

    Returns:
        The errors of the files that could not be written; the others are complete.
    """
    failed: list[InputError] = []

    def attempt(path: Path | None, write: Callable[[Path], object]) -> None:
        if path is not None:
            try:
                with writing(path):
                    write(path)
            except InputError as error:
                failed.append(error)

    if files.json is not None:
        from detector.data.predictions import write_entries

        attempt(files.json, lambda path: write_entries(path, entries(), tuple(classes)))
    if files.csv is files.coco is files.yolo is files.voc is files.ilsvrc is None:
        return failed
    from detector.data.formats import write_detections
    from detector.data.formats.coco import with_numbers, write_coco
    from detector.data.formats.csv import write_csv
    from detector.data.formats.files import valid_text
    from detector.data.formats.keys import file_name, stem
    from detector.data.formats.voc_xml import write_voc_xml

    try:
        truth, table, tracks = _tables(entries(), classes, stems)
    except InputError as error:
        return [*failed, error]
    names = tuple(valid_text(str(image_id)) for image_id in truth.image_ids)
    named = replace(truth, image_ids=names, files=names)
    last_parts = tuple(stem(file_name(name)) for name in names)
    by_stem = replace(truth, image_ids=last_parts if len(set(last_parts)) == len(last_parts) else names)

    def coco(path: Path) -> None:
        numbered, detections = with_numbers(by_stem, replace(table, image_ids=by_stem.image_ids))
        write_coco(path, detections, numbered, rounded=True)

    attempt(files.csv, lambda path: write_csv(path, replace(table, image_ids=names), named, tracks))
    attempt(files.coco, coco)
    attempt(files.ilsvrc, lambda path: write_detections(path, table, truth, "ilsvrc"))
    attempt(files.yolo, lambda path: _fill(path, lambda new: write_detections(new, table, truth, "yolo")))
    attempt(files.voc, lambda path: _fill(path, lambda new: write_voc_xml(new, table, truth)))
    return failed


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    """Moves the files that `write` makes in a new folder into `folder`.

    The writers insist on a new folder, so that old files never count as part of a new result. Here `folder` is empty,
    or the user asked to replace the files of an earlier run.
    """
    for leftover in folder.glob(f"{_TEMPORARY}*"):  # of a run that was killed here
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_TEMPORARY) as temporary:
        write(Path(temporary) / "new")
        for file in sorted((Path(temporary) / "new").iterdir()):
            shutil.move(file, folder / file.name)


def _tables(
    entries: Iterator[dict[str, Any]], classes: Mapping[str, int | str], stems: Mapping[str, str]
) -> "tuple[GroundTruth, DetectionTable, list[int | None] | None]":
    """The images and their detections as columns, which take a tenth of the memory of entries; and the detections'
    tracks if there are any."""
    from detector.data.detection_table import DetectionTable
    from detector.data.ground_truth import GroundTruth

    label_of = {name: label for label, name in enumerate(classes)}
    names: list[str] = []
    files: list[str] = []
    sizes, images, labels = array("q"), array("q"), array("q")
    boxes, scores = array("d"), array("d")
    tracks: list[int | None] = []
    for index, entry in enumerate(entries):
        names.append(entry["image"])
        stem = stems[source_of(entry)]
        files.append(f"{stem}#{entry['frame']:06d}.jpg" if "video" in entry else f"{stem}.jpg")
        sizes.extend((entry["width"], entry["height"]))
        for item in entry["detections"]:
            images.append(index)
            labels.append(label_of[item["label"]])
            boxes.extend(item["box"])
            scores.append(item["score"])
            tracks.append(item.get("track_id"))
    truth = GroundTruth(
        image_ids=tuple(names),
        class_names=tuple(classes),
        class_ids=tuple(classes.values()),
        images=np.zeros(0, np.int64),
        labels=np.zeros(0, np.int64),
        boxes=np.zeros((0, 4)),
        image_sizes=np.array(sizes).reshape(-1, 2),
        files=tuple(files),
    )
    table = DetectionTable(
        image_ids=truth.image_ids,
        class_names=truth.class_names,
        images=np.array(images),
        labels=np.array(labels),
        boxes=np.array(boxes).reshape(-1, 4),
        scores=np.array(scores),
    )
    return truth, table, None if all(track is None for track in tracks) else tracks
