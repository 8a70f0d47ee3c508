"""Our evaluators beside others: time, agreement, growth with the number of detections, memory.

Each uses as many threads as it does by itself: hotcoco, which computes COCO's metric for us, all cores; the rest one.
"""

import contextlib
import dataclasses
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module, metadata
from typing import Any

import numpy as np

from detector.benchmark.environment import Environment
from detector.benchmark.evaluation_data import DETECTIONS, image_count, made_up_data
from detector.benchmark.processes import run_fresh
from detector.benchmark.timing import SLOW_REPEATS, Comparison, Task, Timing, interleave, timing_lines
from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.metrics.bootstrap import bootstrap_average_precision
from detector.evaluation.metrics.coco import coco_average_precision
from detector.evaluation.metrics.ilsvrc import ilsvrc_average_precision
from detector.evaluation.metrics.matching import rank_matches
from detector.evaluation.metrics.voc import match_detections, voc_average_precision

GROWTH = (10_000, 100_000, 300_000, 1_000_000)
_COCO = "coco"


def _intervals(truth: GroundTruth, detections: DetectionTable) -> object:
    return bootstrap_average_precision([rank_matches(truth, detections, match_detections(truth, detections))], "voc10")


EVALUATORS: Mapping[str, Callable[[GroundTruth, DetectionTable], object]] = {
    _COCO: coco_average_precision,
    "voc07": voc_average_precision,
    "ilsvrc": ilsvrc_average_precision,
}
INTERVALS = "voc10 with intervals by 1,000 resamples"
#: Package, its module with the class `COCO`, and module and name of its evaluator.
_RIVALS = {
    "pycocotools": ("pycocotools.coco", "pycocotools.cocoeval", "COCOeval"),
    "faster-coco-eval": ("faster_coco_eval", "faster_coco_eval", "COCOeval_faster"),
}
_MEMORY = """
import sys
from detector.benchmark.evaluation_data import made_up_data
from detector.benchmark.evaluators import EVALUATORS
from detector.benchmark.processes import peak_memory
data = made_up_data(int(sys.argv[2]))
before = peak_memory()
EVALUATORS[sys.argv[1]](*data)
print(before, peak_memory())
"""


@dataclass(frozen=True)
class EvaluatorsReport:
    """The result of a run. What is timed starts from data in memory: arrays for ours, dicts and arrays for others.

    Attributes:
        images, objects, detections: size of the data set of the timings.
        differences: largest difference between COCO's twelve numbers by another evaluator and by ours.
        growth: number of detections (in as many more images), and seconds of each of our evaluators.
        peak_memory: of each evaluator and number of detections, MiB of a fresh process before and after.
        skipped: evaluators that are not installed, and why.
    """

    environment: Environment
    images: int
    objects: int
    detections: int
    timings: tuple[Timing, ...]
    comparisons: tuple[Comparison, ...]
    differences: Mapping[str, float]
    growth: Mapping[int, Mapping[str, float]]
    peak_memory: Mapping[str, Mapping[int, tuple[float, float]]]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: times in seconds, memory in MiB."""
        return {
            **asdict(self.environment),
            "data": {"images": self.images, "objects": self.objects, "detections": self.detections},
            "timings": [timing.to_dict() for timing in self.timings],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "differences": dict(self.differences),
            "growth": [
                {"detections": count, "images": image_count(count), **seconds} for count, seconds in self.growth.items()
            ],
            "peak_memory": [
                {"evaluator": name, "detections": count, "before": before, "after": after}
                for name, sizes in self.peak_memory.items()
                for count, (before, after) in sizes.items()
            ],
            "skipped": dict(self.skipped),
        }

    def table(self) -> str:
        """The result as text."""
        data = f"data      {self.images} images, {self.objects} objects, {self.detections} detections, made up"
        lines = [*self.environment.lines(), data, "", *timing_lines(self.timings), ""]
        lines += [one.line() for one in self.comparisons]
        lines += [f"twelve numbers as by {name}, to {value:.1e}" for name, value in self.differences.items()]
        lines += [f"not timed: {name} ({reason})" for name, reason in self.skipped.items()]
        lines += ["", "detections  images  " + "  ".join(f"{name:>8} s  microseconds each" for name in EVALUATORS)]
        for count, seconds in self.growth.items():
            lines.append(
                f"{count:10}  {image_count(count):6}  "
                + "  ".join(f"{value:10.3f}  {value / count * 1e6:17.2f}" for value in seconds.values())
            )
        lines.append("")
        for name, sizes in self.peak_memory.items():
            for count, (before, after) in sizes.items():
                lines.append(f"peak memory, {name}, {count} detections: {after:.0f} MiB, {before:.0f} MiB before it")
        return "\n".join(lines)


def benchmark_evaluators(
    *,
    repeats: int = 10,
    rivals: bool = True,
    progress: bool = False,
    detections: int = DETECTIONS,
    growth: Sequence[int] = GROWTH,
) -> EvaluatorsReport:
    """Times our evaluators on made-up data, beside the other evaluators of COCO's metric that are installed.

    Args:
        repeats: how often; the others, which are slow, `SLOW_REPEATS` times at most.
        rivals: whether to time others.
        progress: show a bar on standard error if that is a terminal.
        detections: size of the data set.
        growth: numbers of detections to time and to measure the memory with.

    Raises:
        InputError: `repeats`, `detections` or one of `growth` is below 1.
    """
    if min(repeats, detections, *growth) < 1:
        raise InputError(f"repeats {repeats}, detections {detections}, growth {tuple(growth)}; give at least 1")
    truth, table = made_up_data(detections)
    everything = {**EVALUATORS, INTERVALS: _intervals}
    tasks = [_task(name, partial(run, truth, table), repeats) for name, run in everything.items()]
    ours = np.array(list(coco_average_precision(truth, table).summary.values()))
    skipped, differences, versions = {}, {}, {"hotcoco": metadata.version("hotcoco")}
    for name in _RIVALS if rivals else ():
        try:
            run = _rival(name, truth, table)
            versions[name] = metadata.version(name)
        except ImportError as error:
            skipped[name] = str(error)
            continue
        # -1 is what the others say where we say NaN.
        differences[name] = float(np.abs(np.nan_to_num(ours, nan=-1) - run()).max())
        tasks.append(_task(name, run, min(repeats, SLOW_REPEATS)))
    timings = interleave(tasks, progress)
    named = {timing.name: timing for timing in timings}
    environment = Environment.current(1)
    return EvaluatorsReport(
        environment=dataclasses.replace(environment, versions={**environment.versions, **versions}),
        images=len(truth.image_ids),
        objects=len(truth),
        detections=len(table),
        timings=timings,
        comparisons=tuple(Comparison(named[_COCO], named[name]) for name in differences),
        differences=differences,
        growth={count: _growth(count) for count in growth},
        peak_memory=_peak_memory(sorted({detections, *growth})),
        skipped=skipped,
    )


def _task(name: str, run: Callable[[], object], repeats: int) -> Task:
    return Task(lambda: {name: _seconds(run)}, repeats)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _rival(name: str, truth: GroundTruth, table: DetectionTable) -> Callable[[], np.ndarray]:
    """The evaluator, which gives the twelve numbers. Raises `ImportError` where it is not installed."""
    coco_module, module, evaluator = _RIVALS[name]
    coco, evaluator_class = import_module(coco_module).COCO, getattr(import_module(module), evaluator)
    boxes = np.hstack([truth.boxes[:, :2], truth.sides])
    annotations = [
        {"id": number, "image_id": int(image) + 1, "category_id": int(label) + 1, "bbox": box, "area": box[2] * box[3],
         "iscrowd": int(crowd)}
        for number, (image, label, box, crowd) in enumerate(
            zip(truth.images, truth.labels, boxes.tolist(), truth.crowd, strict=True), start=1
        )
    ]  # fmt: skip
    content = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(truth.image_ids) + 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(truth.class_names, start=1)],
    }
    results = np.column_stack([table.images + 1, table.boxes[:, :2], table.sides, table.scores, table.labels + 1])

    def run() -> np.ndarray:
        with contextlib.redirect_stdout(io.StringIO()):
            objects = coco()
            # Evaluators mark the annotations.
            objects.dataset = {**content, "annotations": [dict(one) for one in annotations]}
            objects.createIndex()
            evaluation = evaluator_class(objects, objects.loadRes(results.copy()), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return np.asarray(evaluation.stats)[:12]

    return run


def _growth(count: int) -> dict[str, float]:
    """Seconds of each of our evaluators, the faster of two runs."""
    data = made_up_data(count)
    return {name: min(_seconds(partial(run, *data)) for _ in range(2)) for name, run in EVALUATORS.items()}


def _peak_memory(counts: Sequence[int]) -> dict[str, dict[int, tuple[float, float]]]:
    measured: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in EVALUATORS}
    for name, sizes in measured.items():
        for count in counts:
            told = run_fresh(f"the metric {name}", _MEMORY, (name, str(count)), 1).split()
            if "None" not in told:  # a system that does not tell
                before, after = map(float, told)
                sizes[count] = (before, after)
    return measured
