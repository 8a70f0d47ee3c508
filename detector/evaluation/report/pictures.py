"""The worst images as small pictures, with their boxes as SVG over them: sharp and told apart on any screen."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason
from detector.evaluation.metrics.matching import paired_iou
from detector.evaluation.report.text import FATES
from detector.structures.image import EXTENSIONS, read_image

#: Longer side of a picture in pixels: sharp on a phone, and 12 of them take half a megabyte.
SIDE = 480
_QUALITY = 72


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box in the picture's pixels.

    Attributes:
        kind: "found", "missed" or "wrong".
        number: by which the list below the picture names it; None for what is right.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float
    number: int | None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One of the worst images.

    Attributes:
        jpeg: base64 of the picture; empty without a photo.
        problem: why there is no picture; empty if there is one.
        width, height: of the picture in pixels.
        boxes: found ones first, so that errors lie on top.
        found: number of objects found.
        missed, wrong: number and words for every missed object and false positive.
    """

    image_id: str
    jpeg: str
    problem: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    found: int
    missed: tuple[tuple[int, str], ...]
    wrong: tuple[tuple[int, str], ...]


def worst_pictures(
    truth: GroundTruth, detections: DetectionTable, diagnosis: Diagnosis, photos: Path | None, count: int
) -> list[Picture]:
    """The images with the most errors, most first; a photo that cannot be shown is told in its `problem`.

    Args:
        photos: folder of the images, under which `truth.files` are looked for, with or without their extensions.
    """
    return [_picture(truth, detections, diagnosis, photos, int(image)) for image in diagnosis.images.worst(count)]


def _picture(
    truth: GroundTruth, detections: DetectionTable, diagnosis: Diagnosis, photos: Path | None, image: int
) -> Picture:
    errors = diagnosis.images
    found = np.flatnonzero((truth.images == image) & errors.found)
    missed = np.flatnonzero((truth.images == image) & errors.missed)
    wrong = np.flatnonzero((detections.images == image) & errors.false_positive)
    wrong = wrong[np.argsort(-detections.scores[wrong], kind="stable")]
    jpeg, problem, size, scale = "", "the folder of the photos was not given", (0, 0), 0.0
    if photos is not None:
        try:
            jpeg, size, scale = _thumbnail(_photo_path(photos, truth.files[image]), truth.image_sizes[image])
            problem = ""
        except InputError as error:
            problem = str(error)
    numbers = range(1, len(missed) + len(wrong) + 1)
    boxes = [
        *(("found", box, None) for box in truth.boxes[found]),
        *(("missed", box, number) for box, number in zip(truth.boxes[missed], numbers, strict=False)),
        *(("wrong", box, n) for box, n in zip(detections.boxes[wrong], numbers[len(missed) :], strict=True)),
    ]
    return Picture(
        image_id=str(truth.image_ids[image]),
        jpeg=jpeg,
        problem=problem,
        width=size[0],
        height=size[1],
        boxes=tuple(_box(kind, box, number, scale, size) for kind, box, number in boxes) if jpeg else (),
        found=len(found),
        missed=tuple((n, _missed_words(truth, diagnosis, int(row))) for n, row in zip(numbers, missed, strict=False)),
        wrong=tuple(
            (n, _wrong_words(truth, detections, diagnosis, int(row)))
            for n, row in zip(numbers[len(missed) :], wrong, strict=True)
        ),
    )


def _photo_path(photos: Path, name: str) -> Path:
    path = photos / name
    if path.is_file():
        return path
    for suffix in EXTENSIONS:
        # Not with_suffix: a name may hold a dot of its own.
        for ending in (suffix, suffix.upper()):
            if (other := path.with_name(path.name + ending)).is_file():
                return other
    raise InputError(f"{name}: no such photo in the folder given")


def _thumbnail(path: Path, annotated: np.ndarray) -> tuple[str, tuple[int, int], float]:
    """Base64 of a JPEG, its size and its scale to the photo."""
    photo = read_image(path, path.name)
    if annotated.all() and (photo.width, photo.height) != tuple(annotated.tolist()):
        width, height = annotated.tolist()
        raise InputError(f"{path.name}: is {photo.width}x{photo.height} pixels, annotated {width}x{height}")
    picture = PillowImage.fromarray(photo.pixels)
    picture.thumbnail((SIDE, SIDE), PillowImage.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii"), picture.size, picture.width / photo.width


def _box(kind: str, box: np.ndarray, number: int | None, scale: float, size: tuple[int, int]) -> Box:
    # A pixel inside the picture, where the whole line can be seen.
    low, high = np.array([1.0, 1.0]), np.array(size) - 1.0
    x1, y1 = np.clip(box[:2] * scale, low, high).tolist()
    x2, y2 = np.clip(box[2:] * scale, low, high).tolist()
    return Box(kind=kind, x=round(x1, 1), y=round(y1, 1), width=round(max(x2 - x1, 1), 1),
               height=round(max(y2 - y1, 1), 1), number=number)  # fmt: skip


def _missed_words(truth: GroundTruth, diagnosis: Diagnosis, row: int) -> str:
    name = truth.class_names[truth.labels[row]]
    if diagnosis.traces is None or diagnosis.shown_miss_reasons is None:
        return name
    traces = diagnosis.traces
    source = traces.sources[row]
    by = f" of {traces.source_names[source]}" if source >= 0 else ""
    reason = FATES[MissReason(diagnosis.shown_miss_reasons.reasons[row])][0]
    best = traces.region_scores[row]
    score = f"scored {best:.2f} at best" if best > 0 else "no region covers it"
    return f"{name}: {reason}, {score}; best proposal{by} overlaps it by {traces.proposal_overlaps[row]:.2f}"


def _wrong_words(truth: GroundTruth, detections: DetectionTable, diagnosis: Diagnosis, row: int) -> str:
    kind, target = ErrorKind(diagnosis.errors.kinds[row]), diagnosis.errors.targets[row]
    words = {
        ErrorKind.DUPLICATE: "a second box on an object found",
        ErrorKind.BACKGROUND: "no object is there",
        ErrorKind.BOTH: "near an object of another class",
    }.get(kind, "")
    if kind == ErrorKind.LOCALIZATION:
        overlap = paired_iou(truth, detections, np.array([row]), np.array([target]))[0]
        words = f"badly placed, IoU {overlap:.2f}"
    elif kind == ErrorKind.CLASSIFICATION:
        words = f"annotated as {truth.class_names[truth.labels[target]]}"
    return f"{truth.class_names[detections.labels[row]]} {detections.scores[row]:.2f}: {words}"
