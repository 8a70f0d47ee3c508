"""A detector's predictions for the images of a data set."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.io.json import write_json_lines
from detector.structures.class_names import same_classes
from detector.structures.detections import Detections

LOWEST_SCORE = 0.001
"""Score threshold of detectors in an evaluation. Average precision is that of the whole curve, on which detections
below this have no visible effect."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The detections of one image of a data set, or the error.

    Attributes:
        image_id: id of the image in the data set.
        detections: None if the image failed.
        seconds: wall-clock time from the decoded image to its detections; None if unknown.
        error: one line if the image failed, otherwise None.
        traces: of the image's objects, if requested.
    """

    image_id: str | int
    detections: Detections | None
    seconds: float | None = None
    error: str | None = None
    traces: ObjectTraces | None = None


def known_classes(class_names: Sequence[str], detected: Sequence[str], source: str) -> dict[str, str]:
    """The detected class that each class of a data set corresponds to; InputError that names `source` if none does."""
    same = same_classes(class_names, detected)
    if not same:
        raise InputError(
            f"{source} detects none of the data set's classes ({', '.join(class_names)}), only {', '.join(detected)}"
        )
    return same


def check_size(size: tuple[int, int], annotated: tuple[int, int]) -> None:
    """InputError if an image has another size (width, height) than its annotation, to which its boxes refer."""
    if size != annotated:
        raise InputError(
            f"the image is {size[0]}x{size[1]} pixels, but its annotation says {annotated[0]}x{annotated[1]}"
        )


def detection_table(truth: GroundTruth, predictions: Sequence[Prediction]) -> DetectionTable:
    """The detections of all images, with classes matched to the data set's; failed images have none.

    Raises:
        InputError: the predictions are not those of the data set's images, in its order.
    """
    if [prediction.image_id for prediction in predictions] != list(truth.image_ids):
        raise InputError(f"the predictions are not those of the {len(truth.image_ids)} images, in their order")
    nothing = Detections.from_dict([], truth.class_names, (1, 1))
    return DetectionTable.from_detections(
        truth, [nothing if prediction.detections is None else prediction.detections for prediction in predictions]
    )


def failures(predictions: Sequence[Prediction]) -> dict[str, str]:
    """Image id and error of the images that failed."""
    return {str(p.image_id): p.error or "failed" for p in predictions if p.detections is None}


def mean_seconds(predictions: Sequence[Prediction]) -> float | None:
    """Mean time of an image; None if unknown."""
    seconds = [prediction.seconds for prediction in predictions if prediction.seconds is not None]
    return sum(seconds) / len(seconds) if seconds else None


def joined_traces(predictions: Sequence[Prediction], truth: GroundTruth) -> ObjectTraces | None:
    """The traces of all objects, in the data set's order; None if an image with objects has no traces of them."""
    if all(prediction.traces is None for prediction in predictions):
        return None
    rows_of = dict(zip(truth.image_ids, truth.rows_by_image(), strict=True))
    names: dict[str, int] = {}
    overlaps, sources, scores = np.zeros(len(truth)), np.full(len(truth), -1), np.zeros(len(truth))
    for prediction in predictions:
        rows, traces = rows_of[prediction.image_id], prediction.traces
        if prediction.detections is None:  # failed, so its objects have no proposals
            continue
        if traces is None or len(traces) != len(rows):
            if len(rows):
                return None
            continue
        numbers = np.array([names.setdefault(name, len(names)) for name in traces.source_names] + [-1])
        overlaps[rows], scores[rows] = traces.proposal_overlaps, traces.region_scores
        sources[rows] = numbers[traces.sources]
    return ObjectTraces(proposal_overlaps=overlaps, sources=sources, source_names=tuple(names), region_scores=scores)


def to_entry(prediction: Prediction, file: str) -> dict[str, Any]:
    """A prediction as plain values for JSON."""
    if prediction.detections is None:
        return {"image": file, "error": prediction.error or "failed"}
    width, height = prediction.detections.image_size
    entry: dict[str, Any] = {"image": file, "width": width, "height": height, "seconds": prediction.seconds,
                             "detections": prediction.detections.to_dict()}  # fmt: skip
    if (traces := prediction.traces) is not None:
        entry["objects"] = {
            "proposal_overlaps": traces.proposal_overlaps.tolist(),
            "sources": [traces.source_names[s] if s >= 0 else None for s in traces.sources.tolist()],
            "region_scores": traces.region_scores.tolist(),
        }
    return entry


def from_entry(
    entry: Mapping[str, Any], image_id: str | int, class_names: Sequence[str], class_ids: Sequence[int | str]
) -> Prediction:
    """The inverse of `to_entry`."""
    if "error" in entry:
        return Prediction(image_id, None, error=entry["error"])
    size = (entry["width"], entry["height"])
    detections = Detections.from_dict(entry["detections"], class_names, size, class_ids)
    traces = object_traces(**entry["objects"]) if "objects" in entry else None
    return Prediction(image_id, detections, entry["seconds"], traces=traces)


def object_traces(
    proposal_overlaps: Sequence[float], sources: Sequence[str | None], region_scores: Sequence[float]
) -> ObjectTraces:
    """Traces from an entry's `objects`; InputError if the lists have different lengths."""
    names = tuple(dict.fromkeys(name for name in sources if name is not None))
    return ObjectTraces(
        proposal_overlaps=np.array(proposal_overlaps, np.float64),
        sources=np.array([-1 if name is None else names.index(name) for name in sources], np.int64),
        source_names=names,
        region_scores=np.array(region_scores, np.float64),
    )


def write_predictions(path: str | Path, predictions: list[Prediction], truth: GroundTruth) -> None:
    """Write the predictions for a data set to a file in the native format; failed images are left out.

    Raises:
        InputError: the file cannot be written.
    """
    done = [pair for pair in zip(predictions, truth.files, strict=True) if pair[0].detections is not None]
    class_names = next((p.detections.class_names for p, _ in done if p.detections is not None), ())
    write_entries(Path(path), (to_entry(prediction, file) for prediction, file in done), class_names)


def write_entries(path: Path, entries: Iterable[dict[str, Any]], class_names: Sequence[str]) -> None:
    """Write entries of the native format; the first also holds the detector's `classes`, after its `image`.

    Raises:
        InputError: the file cannot be written.
    """
    first = {"classes": list(class_names)}
    write_json_lines(
        path,
        (entry if number else {"image": entry["image"], **first, **entry} for number, entry in enumerate(entries)),
    )
