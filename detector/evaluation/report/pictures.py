"""The worst images as small pictures, with their boxes as SVG on top, which is sharp on any screen."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason
from detector.evaluation.metrics.matching import paired_iou
from detector.evaluation.report.text import MISS_REASONS
from detector.structures.image import EXTENSIONS, read_image

# Longer side of a picture in pixels: sharp on a phone, and 12 of them take half a megabyte.
_SIDE = 480
_QUALITY = 72


class Box(NamedTuple):
    """A box in the picture's pixels.

    Attributes:
        kind: "found", "missed" or "wrong".
        number: its number in the list below the picture; None for a found object.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float
    number: int | None


class Picture(NamedTuple):
    """One of the worst images.

    Attributes:
        jpeg: base64 of the picture; empty without a photo.
        problem: why a photo cannot be shown; empty if it can.
        width, height: of the picture in pixels.
        boxes: found ones first, so that errors lie on top.
        found: number of objects found.
        missed, wrong: number and description of every missed object and false positive.
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
    """The images with the most errors, most first; `problem` says why a photo cannot be shown.

    Args:
        photos: folder of the images, which contains `truth.files`, with or without their extensions.
    """
    return [picture_of(truth, detections, diagnosis, photos, int(image)) for image in diagnosis.images.worst(count)]


def picture_of(
    truth: GroundTruth, detections: DetectionTable, diagnosis: Diagnosis, photos: Path | None, image: int
) -> Picture:
    """An image, by its index, with its errors."""
    errors = diagnosis.images
    found = np.flatnonzero((truth.images == image) & errors.found)
    missed = np.flatnonzero((truth.images == image) & errors.missed)
    wrong = np.flatnonzero((detections.images == image) & errors.false_positive)
    wrong = wrong[np.argsort(-detections.scores[wrong], kind="stable")]
    jpeg, problem, size, scale = "", "", (0, 0), 0.0
    if photos is not None:
        try:
            jpeg, size, scale = _thumbnail(_photo_path(photos, truth.files[image]), truth.image_sizes[image])
        except InputError as error:
            problem = str(error)
    missed_numbers = range(1, len(missed) + 1)
    wrong_numbers = range(len(missed) + 1, len(missed) + len(wrong) + 1)
    boxes = [
        *(("found", box, None) for box in truth.boxes[found]),
        *(("missed", box, n) for n, box in zip(missed_numbers, truth.boxes[missed], strict=True)),
        *(("wrong", box, n) for n, box in zip(wrong_numbers, detections.boxes[wrong], strict=True)),
    ]
    missed_words = [_describe_missed(truth, diagnosis, row) for row in missed.tolist()]
    wrong_words = [_describe_wrong(truth, detections, diagnosis, row) for row in wrong.tolist()]
    return Picture(
        image_id=str(truth.image_ids[image]),
        jpeg=jpeg,
        problem=problem,
        width=size[0],
        height=size[1],
        boxes=tuple(_box(kind, box, number, scale, size) for kind, box, number in boxes) if jpeg else (),
        found=len(found),
        missed=tuple(zip(missed_numbers, missed_words, strict=True)),
        wrong=tuple(zip(wrong_numbers, wrong_words, strict=True)),
    )


def _photo_path(photos: Path, name: str) -> Path:
    path = photos / name
    if path.is_file():
        return path
    for suffix in EXTENSIONS:
        # Not with_suffix: a name may contain a dot.
        for ending in (suffix, suffix.upper()):
            if (with_ending := path.with_name(path.name + ending)).is_file():
                return with_ending
    raise InputError(f"{name}: no such photo in the folder given")


def _thumbnail(path: Path, annotated: np.ndarray) -> tuple[str, tuple[int, int], float]:
    """Base64 of a JPEG, its size, and its scale relative to the photo."""
    photo = read_image(path, path.name)
    if annotated.all() and (photo.width, photo.height) != tuple(annotated.tolist()):
        width, height = annotated.tolist()
        raise InputError(f"{path.name}: {photo.width}x{photo.height} pixels, but annotated as {width}x{height}")
    picture = PillowImage.fromarray(photo.pixels)
    picture.thumbnail((_SIDE, _SIDE), PillowImage.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii"), picture.size, picture.width / photo.width


def _box(kind: str, box: np.ndarray, number: int | None, scale: float, size: tuple[int, int]) -> Box:
    # At least a pixel inside the picture, so that the whole line is visible.
    low, high = np.array([1.0, 1.0]), np.array(size) - 1.0
    x1, y1 = np.clip(box[:2] * scale, low, high).tolist()
    x2, y2 = np.clip(box[2:] * scale, low, high).tolist()
    return Box(kind, round(x1, 1), round(y1, 1), round(max(x2 - x1, 1), 1), round(max(y2 - y1, 1), 1), number)


def _describe_missed(truth: GroundTruth, diagnosis: Diagnosis, row: int) -> str:
    name = truth.class_names[truth.labels[row]]
    if diagnosis.traces is None or diagnosis.shown_miss_reasons is None:
        return name
    traces = diagnosis.traces
    source = traces.sources[row]
    by = f" from {traces.source_names[source]}" if source >= 0 else ""
    reason = MISS_REASONS[MissReason(diagnosis.shown_miss_reasons.reasons[row])][0]
    best = traces.region_scores[row]
    score = f"best score {best:.2f}" if best > 0 else "no region covers it"
    return f"{name}: {reason}, {score}; best proposal{by} has IoU {traces.proposal_overlaps[row]:.2f}"


def _describe_wrong(truth: GroundTruth, detections: DetectionTable, diagnosis: Diagnosis, row: int) -> str:
    kind, target = ErrorKind(diagnosis.errors.kinds[row]), diagnosis.errors.targets[row]
    words = {
        ErrorKind.DUPLICATE: "a second box on a found object",
        ErrorKind.BACKGROUND: "no object",
        ErrorKind.BOTH: "near an object of another class",
    }.get(kind, "")
    if kind == ErrorKind.LOCALIZATION:
        overlap = paired_iou(truth, detections, np.array([row]), np.array([target]))[0]
        words = f"localization error, IoU {overlap:.2f}"
    elif kind == ErrorKind.CLASSIFICATION:
        words = f"annotated as {truth.class_names[truth.labels[target]]}"
    return f"{truth.class_names[detections.labels[row]]} {detections.scores[row]:.2f}: {words}"
