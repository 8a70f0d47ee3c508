"""The worst images as small pictures, with their boxes as SVG on top, which is sharp on any screen."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from detector.errors import InputError
from detector.evaluation.errors import Diagnosis, ErrorKind, MissReason
from detector.evaluation.metrics.pairs import paired_iou
from detector.evaluation.report.sections import MISS_REASONS
from detector.structures.image import EXTENSIONS, read_image

# Longer side of a picture in pixels: sharp on a phone, and 12 of them take half a megabyte.
_SIDE = 480
_QUALITY = 72

WORST = 12
"""Number of worst images in a report."""


def worst_pictures(diagnosis: Diagnosis, photos: Path | None) -> list[dict[str, Any]]:
    """The `WORST` images with the most errors, most first, with the fields that the template names.

    `boxes` are (kind, x, y, width, height, number) in the picture's pixels, found ones first, so that errors lie on
    top; the number is that in the list below the picture, 0 for a found object. `missed` and `wrong` are the numbers
    and descriptions of that list. `problem` says why a photo cannot be shown.

    Args:
        photos: folder of the images, which contains `truth.files`, with or without their extensions.
    """
    return [picture_of(diagnosis, photos, image) for image in diagnosis.images.worst(WORST).tolist()]


def picture_of(diagnosis: Diagnosis, photos: Path | None, image: int) -> dict[str, Any]:
    """An image, by its index, with its errors."""
    truth, detections, errors = diagnosis.matches.truth, diagnosis.matches.detections, diagnosis.images
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
    faults = [("missed", box) for box in truth.boxes[missed]] + [("wrong", box) for box in detections.boxes[wrong]]
    boxes = [("found", box, 0) for box in truth.boxes[found]]
    boxes += [(kind, box, number) for number, (kind, box) in enumerate(faults, start=1)]
    return {
        "image_id": truth.image_ids[image],
        "jpeg": jpeg,
        "problem": problem,
        "size": size,
        "boxes": [(kind, *_placed(box * scale, size), number) for kind, box, number in boxes] if jpeg else [],
        "found": len(found),
        "missed": list(enumerate((_describe_missed(diagnosis, row) for row in missed.tolist()), start=1)),
        "wrong": list(enumerate((_describe_wrong(diagnosis, row) for row in wrong.tolist()), start=len(missed) + 1)),
    }


def _photo_path(photos: Path, name: str) -> Path:
    # Not with_suffix: a name may contain a dot.
    for ending in ("", *EXTENSIONS, *map(str.upper, EXTENSIONS)):
        if (path := photos / f"{name}{ending}").is_file():
            return path
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


def _placed(box: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """x, y, width and height, at least a pixel inside the picture, so that the whole line is visible."""
    x1, y1, x2, y2 = np.clip(box, 1.0, np.tile(size, 2) - 1.0).tolist()
    return round(x1, 1), round(y1, 1), round(max(x2 - x1, 1), 1), round(max(y2 - y1, 1), 1)


def _describe_missed(diagnosis: Diagnosis, row: int) -> str:
    truth, traces = diagnosis.matches.truth, diagnosis.traces
    name = truth.class_names[truth.labels[row]]
    if traces is None or diagnosis.shown_miss_reasons is None:
        return name
    source = traces.sources[row]
    by = f" from {traces.source_names[source]}" if source >= 0 else ""
    reason = MISS_REASONS[MissReason(diagnosis.shown_miss_reasons[row])][0]
    best = traces.region_scores[row]
    score = f"best score {best:.2f}" if best > 0 else "no region covers it"
    return f"{name}: {reason}, {score}; best proposal{by} has IoU {traces.proposal_overlaps[row]:.2f}"


def _describe_wrong(diagnosis: Diagnosis, row: int) -> str:
    truth, detections = diagnosis.matches.truth, diagnosis.matches.detections
    kind, target = ErrorKind(diagnosis.errors.kinds[row]), diagnosis.errors.targets[row]
    if kind == ErrorKind.LOCALIZATION:
        words = f"localization error, IoU {paired_iou(truth, detections, np.array([row]), np.array([target]))[0]:.2f}"
    elif kind == ErrorKind.CLASSIFICATION:
        words = f"annotated as {truth.class_names[truth.labels[target]]}"
    else:
        words = {
            ErrorKind.DUPLICATE: "a second box on a found object",
            ErrorKind.BACKGROUND: "no object",
            ErrorKind.BOTH: "near an object of another class",
        }[kind]
    return f"{truth.class_names[detections.labels[row]]} {detections.scores[row]:.2f}: {words}"
