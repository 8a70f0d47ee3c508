"""Ground truth and detections from rows written out by hand."""

from collections.abc import Sequence

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth

Box = tuple[float, float, float, float]


def truth_of(
    *objects: tuple[int, int, Box], images: int | Sequence[str] = 2, names: Sequence[str] = ("cat", "dog"), **columns
) -> GroundTruth:
    """Objects as image, label, box."""
    indices, labels, boxes = zip(*objects, strict=True) if objects else ((), (), ())
    ids = tuple(range(images)) if isinstance(images, int) else tuple(images)
    return GroundTruth(image_ids=ids, class_names=tuple(names), images=indices, labels=labels, boxes=boxes, **columns)


def table_of(truth: GroundTruth, *detections: tuple[int, int, float, Box]) -> DetectionTable:
    """Detections as image, label, score, box."""
    indices, labels, scores, boxes = zip(*detections, strict=True) if detections else ((), (), (), ())
    return DetectionTable(
        image_ids=truth.image_ids, class_names=truth.class_names, images=indices, labels=labels, boxes=boxes,
        scores=scores,
    )  # fmt: skip
