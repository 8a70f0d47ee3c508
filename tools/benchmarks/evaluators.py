"""Our evaluators beside others on made-up data: time, agreement, growth with the number of detections, memory.

Each uses its default number of threads: hotcoco, which computes COCO's metric for us, all cores; the rest one.
"""

import contextlib
import io
import timeit
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.measuring import Report, Rival, Task, interleave, load_rivals, run_fresh
from detector.evaluation import (
    DetectionTable,
    GroundTruth,
    coco_average_precision,
    ilsvrc_average_precision,
    voc_average_precision,
)

DETECTIONS = 39_615
"""Detections for 36,708 objects in 5,000 images of 80 classes, as in COCO's validation set; other numbers keep these
proportions."""

GROWTH = (10_000, 100_000, 300_000, 1_000_000)
_IMAGES, _OBJECTS, _CLASSES, _SIZE = 5_000, 36_708, 80, (640, 480)

EVALUATORS: Mapping[str, Callable[[GroundTruth, DetectionTable], Any]] = {
    "coco": coco_average_precision,
    "voc07": voc_average_precision,
    "ilsvrc": ilsvrc_average_precision,
}
# Package, its module with the class `COCO`, and the module and name of its evaluator.
_RIVALS = {
    "pycocotools": ("pycocotools.coco", "pycocotools.cocoeval", "COCOeval"),
    "faster-coco-eval": ("faster_coco_eval", "faster_coco_eval", "COCOeval_faster"),
}
_MEMORY = """
import sys
from benchmarks.evaluators import EVALUATORS, made_up_data
EVALUATORS[sys.argv[1]](*made_up_data(int(sys.argv[2])))
"""


def benchmark_evaluators(
    repeats: int, rivals: bool, detections: int = DETECTIONS, growth: Sequence[int] = GROWTH
) -> Report:
    """Times our evaluators beside the other evaluators of COCO's metric that are installed, all on arrays in memory.

    Args:
        detections: size of the data set.
        growth: numbers of detections for which time and memory of our evaluators are measured.
    """
    truth, table = made_up_data(detections)
    tasks = [Task(name, partial(run, truth, table)) for name, run in EVALUATORS.items()]
    others = [Rival(name, ("coco",), partial(_rival, name), slow=True) for name in _RIVALS]
    loaded, skipped = load_rivals(others if rivals else (), truth, table)
    ours = np.nan_to_num(list(coco_average_precision(truth, table).summary.values()), nan=-1)  # -1 is theirs for NaN
    differences = {rival.name: float(np.abs(ours - np.asarray(rival.run())).max()) for rival in loaded}
    tasks += loaded
    interleave(tasks, repeats)
    rows = [{"detections": count, "images": image_count(count), **_seconds(count)} for count in growth]
    memory = {
        f"{name}, {count} detections": run_fresh(_MEMORY, name, count, threads=1)[1]
        for name in EVALUATORS
        for count in growth
    }
    return Report(
        {
            "data": {"images": len(truth.image_ids), "objects": len(truth), "detections": len(table)},
            "largest difference of COCO's twelve numbers": differences,
        },
        tasks,
        threads=1,
        tables={"seconds by number of detections": rows},
        peak_memory=memory,
        skipped=skipped,
    )


def image_count(detections: int) -> int:
    """How many images that many detections lie in."""
    return max(1, round(detections * _IMAGES / DETECTIONS))


def made_up_data(detections: int = DETECTIONS, seed: int = 0) -> tuple[GroundTruth, DetectionTable]:
    """Objects and detections of frequent and rare classes, small and large; one object in a hundred is a crowd.

    Two detections of three lie near an object, the rest anywhere. The former score higher; scores have three digits,
    so that some are equal. Coordinates have two decimals, as in COCO's files.
    """
    rng = np.random.default_rng(seed)
    images, objects = image_count(detections), max(1, round(detections * _OBJECTS / DETECTIONS))
    frequency = 1 / np.arange(1, _CLASSES + 1)
    frequency /= frequency.sum()
    image_of = rng.integers(0, images, objects)
    labels = rng.choice(_CLASSES, objects, p=frequency)
    boxes = _boxes(rng, objects)

    near = rng.integers(0, objects, detections)
    hits = rng.random(detections) < 2 / 3
    sides = np.tile(boxes[near, 2:] - boxes[near, :2], 2)
    jittered = boxes[near] + rng.normal(0, 0.08, (detections, 4)) * sides
    jittered[:, 2:] = np.maximum(jittered[:, 2:], jittered[:, :2] + 1)
    truth = GroundTruth(
        image_ids=tuple(range(1, images + 1)),
        class_names=tuple(f"class {number}" for number in range(1, _CLASSES + 1)),
        images=image_of,
        labels=labels,
        boxes=boxes,
        crowd=rng.random(objects) < 0.01,
    )
    table = DetectionTable(
        image_ids=truth.image_ids,
        class_names=truth.class_names,
        images=np.where(hits, image_of[near], rng.integers(0, images, detections)),
        labels=np.where(hits, labels[near], rng.choice(_CLASSES, detections, p=frequency)),
        boxes=np.where(hits[:, np.newaxis], jittered.round(2), _boxes(rng, detections)),
        scores=np.clip(rng.normal(np.where(hits, 0.6, 0.3), 0.2), 0, 1).round(3),
    )
    return truth, table


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array(_SIZE) - sides).clip(0)
    return np.hstack([corners, corners + sides]).round(2)


def _seconds(count: int) -> dict[str, float]:
    """Seconds of each of our evaluators, the faster of two runs."""
    data = made_up_data(count)
    return {name: min(timeit.repeat(partial(run, *data), number=1, repeat=2)) for name, run in EVALUATORS.items()}


def _rival(name: str, truth: GroundTruth, table: DetectionTable) -> Callable[[], np.ndarray]:
    """The evaluator, which gives COCO's twelve numbers."""
    coco_module, module, evaluator = _RIVALS[name]
    coco, evaluator_class = import_module(coco_module).COCO, getattr(import_module(module), evaluator)
    boxes = np.hstack([truth.boxes[:, :2], truth.sides])
    objects = zip(truth.images.tolist(), truth.labels.tolist(), boxes.tolist(), truth.crowd.tolist(), strict=True)
    annotations = [
        {"id": number, "image_id": image + 1, "category_id": label + 1, "bbox": box, "area": box[2] * box[3],
         "iscrowd": int(crowd)}
        for number, (image, label, box, crowd) in enumerate(objects, start=1)
    ]  # fmt: skip
    content = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(truth.image_ids) + 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(truth.class_names, start=1)],
    }
    results = np.column_stack([table.images + 1, table.boxes[:, :2], table.sides, table.scores, table.labels + 1])

    def run() -> np.ndarray:
        with contextlib.redirect_stdout(io.StringIO()):
            annotated = coco()
            # Copies, because evaluators write into the annotations.
            annotated.dataset = {**content, "annotations": [dict(annotation) for annotation in annotations]}
            annotated.createIndex()
            evaluation = evaluator_class(annotated, annotated.loadRes(results.copy()), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return np.asarray(evaluation.stats)[:12]

    return run
