"""Data in COCO's format and in columns, for comparison with other evaluators."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.metrics.coco import COCOResult


@dataclass
class COCOData:
    """Ids of images and categories, and per object and detection a dict as in COCO's files."""

    images: list[int]
    categories: list[int]
    annotations: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)

    def add_object(self, image: int, label: int, box: list[float], share: float = 1, crowd: bool = False) -> None:
        """`share`: of the box that the outline covers."""
        ids = {"id": len(self.annotations) + 1, "image_id": image, "category_id": label}
        area = box[2] * box[3] * float(share)
        self.annotations.append(ids | {"bbox": box, "area": area, "iscrowd": int(crowd)})

    def add_detection(self, image: int, label: int, box: list[float], score: float) -> None:
        self.results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})

    def truth(self) -> GroundTruth:
        items = self.annotations
        return GroundTruth(
            image_ids=tuple(self.images),
            class_names=tuple(map(str, self.categories)),
            boxes=corners(items),
            crowd=[item["iscrowd"] for item in items],
            areas=[item["area"] for item in items],
            sides=sides(items),
            **self._rows(items),
        )

    def detections(self) -> DetectionTable:
        return DetectionTable(
            image_ids=tuple(self.images),
            class_names=tuple(map(str, self.categories)),
            boxes=corners(self.results),
            scores=[item["score"] for item in self.results],
            sides=sides(self.results),
            **self._rows(self.results),
        )

    def _rows(self, items: list[dict[str, Any]]) -> dict[str, list[int]]:
        return {
            "images": [self.images.index(item["image_id"]) for item in items],
            "labels": [self.categories.index(item["category_id"]) for item in items],
        }


def corners(items: Sequence[dict[str, Any]]) -> np.ndarray:
    boxes = np.array([item["bbox"] for item in items], float).reshape(-1, 4)
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def sides(items: Sequence[dict[str, Any]]) -> np.ndarray:
    return np.array([item["bbox"][2:] for item in items], float).reshape(-1, 2)


def random_data(seed: int, images: int = 12, classes: int = 3, objects: int = 60, detections: int = 120) -> COCOData:
    """Crowds, equal scores, images without anything, an image and a class of id 0, sizes at COCO's borders, classes
    without objects, images that are not in the order of their ids; objects and detections with two decimals."""
    rng = np.random.default_rng(seed)
    data = COCOData(rng.permutation(3 * images)[:images].tolist(), list(range(classes)))
    if 0 not in data.images:
        data.images[0] = 0
    full = data.images[: max(1, 3 * images // 4)]
    for _ in range(objects):
        width, height = rng.choice([32, 96, *np.exp(rng.uniform(1, 5.5, 6)).round(2)], 2).tolist()
        box = [*rng.uniform(0, 300, 2).round(2).tolist(), width, width if rng.random() < 0.3 else height]
        label = int(rng.integers(max(1, classes - 1)))
        data.add_object(int(rng.choice(full)), label, box, rng.choice([1, 0.6]), rng.random() < 0.1)
    for _ in range(detections):
        near = data.annotations[rng.integers(objects)]
        box = np.array(near["bbox"])
        box = box + rng.normal(0, rng.choice([0, 0.03, 0.1, 0.3]), 4) * np.tile(box[2:], 2)
        box[2:] = np.maximum(box[2:], 1)
        ids = near["image_id"], near["category_id"]
        if rng.random() > 0.9:
            ids = int(rng.choice(data.images)), int(rng.integers(classes))
        data.add_detection(*ids, box.round(2).tolist(), round(float(rng.random()), int(rng.integers(1, 4))))
    return data


def data_on_borders(seed: int, objects: int = 40, detections: int = 120) -> COCOData:
    """Areas on COCO's borders and just beside them, above the largest too, and IoUs of exactly 0.5 to 0.95; sides of
    up to eight decimals, corners left of the image."""
    rng = np.random.default_rng(seed)
    data = COCOData([3, 1, 9], [0, 1])
    decimals = int(rng.integers(9))
    limits = [32, 96, 66.6666667, 96.0000001, 31.9999999, 9e4, 1e5, 1.00001e5]
    for _ in range(objects):
        width, height = rng.choice([*limits, *rng.uniform(1, 200, 4).round(decimals)], 2).tolist()
        box = [*rng.uniform(-50, 300, 2).round(decimals).tolist(), width, width if rng.random() < 0.4 else height]
        image, label = int(rng.choice(data.images)), int(rng.integers(2))
        data.add_object(image, label, box, rng.choice([1, 0.6]), rng.random() < 0.15)
    for _ in range(detections):
        near = data.annotations[rng.integers(objects)]
        box = list(near["bbox"])
        box[int(rng.integers(2, 4))] *= float(rng.choice([0.5, 0.55, 0.6, 0.75, 0.95, 1]))
        score = round(float(rng.random()), int(rng.integers(1, 3)))
        data.add_detection(near["image_id"], near["category_id"], box, score)
    return data


def other_evaluator(
    data: COCOData, coco: Any, evaluator: Any, iou_thresholds: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """`precision`, `recall` and, at the usual thresholds, `stats` of pycocotools or what has its interface."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco()
        truth.dataset = {
            "info": {},
            "images": [{"id": number} for number in data.images],
            "categories": [{"id": number, "name": str(number)} for number in data.categories],
            "annotations": [dict(item) for item in data.annotations],
        }
        truth.createIndex()
        evaluation = evaluator(truth, truth.loadRes([dict(item) for item in data.results]), "bbox")
        if iou_thresholds is not None:
            evaluation.params.iouThrs = np.array(iou_thresholds)
        evaluation.evaluate()
        evaluation.accumulate()
        arrays = {name: np.array(evaluation.eval[name]) for name in ("precision", "recall")}
        if iou_thresholds is None:
            evaluation.summarize()
            arrays["stats"] = np.array(evaluation.stats)
    return {name: np.where(values < 0, np.nan, values) for name, values in arrays.items()}


def assert_agree(result: COCOResult, expected: dict[str, np.ndarray], tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(result.precision, expected["precision"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.recall, expected["recall"], rtol=0, atol=tolerance)
    if "stats" in expected:
        np.testing.assert_allclose(list(result.summary.values()), expected["stats"][:12], rtol=0, atol=tolerance)
