"""Numbers that are none, and numbers that must be the same: `python -m tests.reliability.arithmetic`.

NaN and infinities in weights, activations, boxes and pixels are refused with the name of what holds them; detections
and training are the same for the same seed, in every run to the last bit and with other numbers of threads within the
tolerances below; denormal numbers do not slow a detection.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.reliability.nursery import ROOT
from tests.reliability.table import Row, Timer, report

MODEL = ROOT / "detector/pretrained/voc07.safetensors"
#: Of detections with another number of threads, whose sums have another order: bfloat16 has 8 bits.
SCORE_TOLERANCE, PIXEL_TOLERANCE = 0.02, 2.0
#: Of weights after a training of some steps with another number of threads, against the largest weight of the tensor.
WEIGHT_TOLERANCE = 0.02
#: A detection with denormal numbers takes at most so many times the time of another.
DENORMAL_FACTOR = 3.0


def refusal(read: Callable[[], object], *named: str) -> str | None:
    """What is wrong with how something was refused; None if an InputError in one line has all the names."""
    from detector.errors import InputError

    try:
        read()
    except InputError as error:
        text = str(error)
        missing = [one for one in named if one not in text]
        return f"does not name {missing}: {text}" if missing or "\n" in text else None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"was taken, it should have been refused with {named}"


def weights(chance: random.Random, most: int | None = None) -> Row:
    """A number in each tensor of a model file is NaN or infinite."""
    from detector.models.weights import load_model

    row = Row("NaN or inf in weights")
    tensors = load_file(MODEL)
    with safe_open(MODEL, framework="pt") as file:
        metadata = file.metadata()
    names = sorted(tensors) if most is None else chance.sample(sorted(tensors), most)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bad.safetensors"
        for name in names:
            value = chance.choice((math.nan, math.inf, -math.inf))
            changed = tensors[name].clone()
            changed.view(-1)[chance.randrange(changed.numel())] = value
            save_file({**tensors, name: changed}, path, metadata)
            row.tried += 1
            with Timer() as timer:
                fault = refusal(lambda: load_model(path), "bad.safetensors", f"tensor '{name}'", "not finite")
            row.took(timer.seconds)
            if fault:
                row.fault(f"{name}: {fault}")
    row.notes = f"the check takes {check_milliseconds():.1f} ms"
    return row


def check_milliseconds() -> float:
    """Time of the processor for the check of all tensors of the default model, the best of five."""
    from detector.models.weights import _is_finite

    tensors = [tensor.float() for tensor in load_file(MODEL).values()]
    times = []
    for _ in range(5):
        started = time.process_time()
        assert all(map(_is_finite, tensors))
        times.append(time.process_time() - started)
    return 1000 * min(times)


def activations() -> Row:
    """Weights that are finite and so large that a layer overflows. (Of an early layer PyTorch's ReLU and LRN may make
    zeros out of NaN, and the objects are only missing.)"""
    from detector import load_detector
    from detector.models.weights import load_model
    from detector.structures.image import read_image

    row = Row("overflow in activations")
    image = read_image(ROOT / "tests/photos/cat.jpg")
    for part in ("backbone.inception_5b.conv1x1", "backbone.inception_5b.conv3x3", "maps"):
        model = load_model(MODEL)
        with torch.no_grad():
            model.network.get_submodule(part).weight.fill_(3e38)
        detector = _detector(model)
        row.tried += 1
        with Timer() as timer:
            fault = refusal(lambda: detector.detect(image, 0.1), "is not finite: its numbers overflow on this image")  # noqa: B023
        row.took(timer.seconds)
        if fault:
            row.fault(f"{part}: {fault}")
    detector = load_detector(MODEL, device="cpu")
    row.tried += 1
    if len(detector.detect(image)) != 1:
        row.fault("the sound model does not find its cat")
    return row


def _detector(model: Any) -> Any:
    from detector.inference.detector import Detector

    return Detector(model, "cpu")


def boxes() -> Row:
    """NaN and infinities in boxes, scores and pixels that a caller gives."""
    from detector.data.annotations import Annotations
    from detector.data.ground_truth import GroundTruth
    from detector.evaluation import DetectionTable
    from detector.structures.detections import Detections
    from detector.structures.image import as_image
    from proposals import Proposals

    row = Row("NaN or inf in boxes, scores, pixels")
    good = [10.0, 10.0, 50.0, 50.0]

    def proposals(box: list[float], score: float) -> None:
        from detector.errors import InputError

        try:
            Proposals(
                np.array([box], np.float32), np.array([score], np.float32), np.zeros(1, np.int16), ("a",), (90, 90)
            )
        except ValueError as error:  # what the package documents, which knows no InputError
            raise InputError(str(error)) from None

    for bad in (math.nan, math.inf, -math.inf):
        for place in range(4):
            box = [10.0, 10.0, 50.0, 50.0]
            box[place] = bad
            made: dict[str, Callable[[], object]] = {
                "Detections": lambda box=box: Detections([box], [0.5], [0], ("cat",), (90, 90)),  # type: ignore[misc]
                "Annotations": lambda box=box: Annotations([box], [0], [False], (90, 90)),  # type: ignore[misc, arg-type]
                "GroundTruth": lambda box=box: GroundTruth(  # type: ignore[misc]
                    image_ids=("a",), class_names=("cat",), images=[0], labels=[0], boxes=[box]),
                "DetectionTable": lambda box=box: DetectionTable(  # type: ignore[misc]
                    image_ids=("a",), class_names=("cat",), images=[0], labels=[0], boxes=[box], scores=[0.5]),
                "Proposals": lambda box=box: proposals(box, 0.5),  # type: ignore[misc]
            }  # fmt: skip
            for name, make in made.items():
                row.tried += 1
                if fault := refusal(make, "box"):
                    row.fault(f"{name} with {box}: {fault}")
        made = {
            "score of Detections": lambda bad=bad: Detections([good], [bad], [0], ("cat",), (90, 90)),  # type: ignore[misc]
            "score of Proposals": lambda bad=bad: proposals(good, bad),  # type: ignore[misc]
            "pixels": lambda bad=bad: as_image(torch.full((3, 4, 4), bad)),  # type: ignore[misc]
        }
        for name, make in made.items():
            row.tried += 1
            if fault := refusal(make):
                row.fault(f"{name} {bad}: {fault}")
    return row


_DETECT = """
import json, sys, torch, cv2
torch.set_num_threads(int(sys.argv[1])); cv2.setNumThreads(int(sys.argv[1]))
from detector import load_detector
detector = load_detector(sys.argv[2], device="cpu")
found = [detector(photo, score=0.05) for photo in sys.argv[3:]]
print(json.dumps([[one.boxes.tolist(), one.scores.tolist(), one.labels.tolist()] for one in found]))
"""


def _run(program: str, *arguments: object, threads: int) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", program, str(threads), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def same_detections(threads: tuple[int, ...] = (1, 1, 2, 3)) -> Row:
    """Processes with these numbers of threads; those of the first number must give the first's result."""
    row = Row("same detections")
    photos = sorted((ROOT / "tests/photos").glob("*.jpg"))
    first: Any = None
    scores = pixels = 0.0
    for count in threads:
        with Timer() as timer:
            found = _run(_DETECT, MODEL, *photos, threads=count)
        row.tried += 1
        row.took(timer.seconds)
        first = first or found
        if count == threads[0]:
            if found != first:
                row.fault(f"another run with {count} threads gives another result")
            continue
        for mine, other in zip(found, first, strict=True):
            moved, changed = _apart(mine, other)
            scores, pixels = max(scores, changed), max(pixels, moved)
    if scores > SCORE_TOLERANCE or pixels > PIXEL_TOLERANCE:
        row.fault(f"another number of threads moves boxes by {pixels:.2f} pixels and scores by {scores:.4f}")
    row.notes = f"other numbers of threads: {pixels:.3f} pixels, scores {scores:.5f} apart"
    return row


def _apart(mine: Any, other: Any) -> tuple[float, float]:
    """How far the boxes, in pixels, and scores of two results are apart, of the objects that score at least 0.3."""
    pixels = scores = 0.0
    for box, score, label in zip(*mine[:3], strict=True):
        if score < 0.3:
            continue
        near = [(max(abs(a - b) for a, b in zip(box, one, strict=True)), abs(score - its))
                for one, its, kind in zip(*other[:3], strict=True) if kind == label]  # fmt: skip
        moved, changed = min(near, default=(math.inf, math.inf))
        pixels, scores = max(pixels, moved), max(scores, changed)
    return pixels, scores


_TRAIN = """
import json, sys, torch
threads, folder, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
from pathlib import Path
torch.set_num_threads(threads)
from detector.training.recipes import load_recipe
from detector.training.assembly import make_loop
root = Path(folder)
loop = make_loop(load_recipe(root / "recipe.yaml"), root / "VOC", Path(out), Path(sys.argv[4]), root / "cache", "cpu")
for step in range(loop.config.steps):
    loop.step = step
    loop.train_step(loop.task.example(step))
torch.save(loop.network.state_dict(), Path(out) / "weights.pt")
print("0")
"""


def same_training(threads: tuple[int, ...] = (1, 1, 2)) -> Row:
    """The same for a training of some steps: its weights."""
    from tests.reliability.kill_tasks import Train

    row = Row("same training")
    states: list[dict[str, torch.Tensor]] = []
    farthest = 0.0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        Train(6).prepare(folder)
        for index, count in enumerate(threads):
            out = folder / str(index)
            out.mkdir()
            with Timer() as timer:
                _run(_TRAIN, folder, out, MODEL, threads=count)
            row.tried += 1
            row.took(timer.seconds)
            states.append(torch.load(out / "weights.pt", weights_only=True))
            for name, value in states[-1].items():
                difference = (value - states[0][name]).abs().max().item()
                if count == threads[0] and difference:
                    row.fault(f"another run with {count} threads gives another {name}, by {difference:.2g}")
                    break
                farthest = max(farthest, difference / max(1e-12, states[0][name].abs().max().item()))
    if farthest > WEIGHT_TOLERANCE:
        row.fault(f"another number of threads gives weights that are {farthest:.3g} of the largest apart")
    row.notes = f"other numbers of threads: weights {farthest:.2g} of the largest apart"
    return row


def denormals() -> Row:
    """Weights so small that activations become denormal, against the sound model, in both formats."""
    from detector.inference.detector import Detector
    from detector.models.weights import load_model
    from detector.structures.image import read_image

    row = Row("denormal numbers")
    image = read_image(ROOT / "tests/photos/cat.jpg")

    def milliseconds(factor: float, dtype: torch.dtype) -> float:
        from detector.inference.rfcn_scorer import make_scorer

        model = load_model(MODEL)
        with torch.no_grad():
            for parameter in model.network.get_submodule("backbone").parameters():
                parameter.mul_(factor)
        detector = Detector(model, "cpu")
        detector.dtype = dtype
        detector.scorers = (make_scorer(model, detector.device, dtype),)
        times = []
        for _ in range(3):
            started = time.perf_counter()
            detector.encode(image)
            times.append(time.perf_counter() - started)
        return 1000 * min(times)

    notes = []
    for dtype in (torch.float32, torch.bfloat16):
        usual = milliseconds(1.0, dtype)
        slow = max(milliseconds(factor, dtype) for factor in (1e-6, 1e-20, 1e-36, 1e-40))
        row.tried += 4
        row.took(slow / 1000)
        notes.append(f"{str(dtype).removeprefix('torch.')} {slow / usual:.2f} times the usual time")
        if slow > DENORMAL_FACTOR * usual:
            row.fault(f"{dtype}: {slow:.0f} ms, usually {usual:.0f}")
    row.notes = ", ".join(notes)
    return row


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.arithmetic", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    with Timer() as timer:
        rows = [weights(chance), activations(), boxes(), same_detections(), same_training(), denormals()]
    return report(rows, timer.seconds)


if __name__ == "__main__":
    sys.exit(main())
