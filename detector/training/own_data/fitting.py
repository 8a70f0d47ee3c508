"""A detector of a user's own classes from their photos: all of `detector train --data`."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torchvision.ops import box_iou

from detector.config import ModelConfig
from detector.data.faults import Fault
from detector.data.own_data import OwnData, read_own_data
from detector.data.own_layouts import OwnLayout
from detector.devices import resolve_device
from detector.errors import InputError
from detector.evaluation.sheet import draw_sheet
from detector.evaluation.voc import VOCResult, voc_average_precision
from detector.images import read_image
from detector.lock import only_run_in
from detector.pipeline import Detector
from detector.precision import fast_dtype
from detector.training.checkpoint import CHECKPOINT, remove_checkpoints
from detector.training.data import ProposedImages
from detector.training.loop import TrainingLoop
from detector.training.own_data.plan import PLAN, Machine, check_length, make_plan
from detector.training.own_data.split import PhotoSet, Split, listed, split_data
from detector.training.own_data.survey import survey_data
from detector.training.own_data.task import HISTORY, MODEL, OwnDataTask
from detector.training.own_data.transfer import transfer_weights
from detector.training.regions import detect_proposed
from detector.weights import Model, load_model, save_model, weights_hash
from proposals.files import atomic_write

log = logging.getLogger(__name__)

SHEET = "sheet.jpg"
_FINISHED = "finished.json"
"""Minutes of a training that has ended, whose checkpoints are removed."""
_TRIAL_STEPS = (3, 9)
"""Steps before the measured ones, and in all."""
_COVERED = 0.5
_FEW = 10
"""Held-back objects of a class, below which one of them can move its AP by more than ten points."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a training gave.

    Attributes:
        model: the model file.
        sheet: the picture of hits and misses.
        result: of the best weights on all held-back photos.
        photo: a held-back photo, to try the model on.
        left_out: photos that could not be used, and why.
        minutes: of training, over all of its parts.
    """

    model: Path
    sheet: Path
    result: VOCResult
    photo: Path
    left_out: tuple[Fault, ...]
    minutes: float

    def __str__(self) -> str:
        precision, recall = self.result.at_score(0.5)
        # no number is right about nothing: NaN is the precision of no detections
        shown = f"precision {precision:.2f}, recall {recall:.2f}" if precision == precision else "no detections"
        width = max(len(name) for name in self.result.classes)
        judged = {name: one for name, one in self.result.classes.items() if one.objects}
        lines = [
            f"  {name:{width}}  AP {100 * one.ap:5.1f}, {one.objects} object{'s' * (one.objects != 1)}"
            for name, one in judged.items()
        ]
        if few := [name for name, one in judged.items() if one.objects < _FEW]:
            lines.append(f"note         an AP of fewer than {_FEW} objects says little, one can move it by 10 points: "
                         f"{listed(few)}")  # fmt: skip
        return "\n".join(
            [
                f"mAP          {100 * self.result.mean_ap:.1f} on the held-back photos (VOC07's 11 points, IoU 0.5)",
                *lines,
                f"at score 0.5 {shown}",
                f"trained      {self.minutes:.1f} minutes",
                f"hits, misses {self.sheet}",
                f"model        {self.model}",
            ]
        )


def fit(
    data: str | Path | OwnData,
    out: str | Path,
    *,
    layout: OwnLayout | None = None,
    classes: str | Iterable[str] | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    init: str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    tell: Callable[[str], None] = log.info,
) -> Fitted:
    """Trains a detector of the classes in `data`, starting from a trained one. Called again, it goes on.

    A training that has ended leaves no checkpoints, only the model; called again, that is judged again.

    Args:
        data: as `detector.data.own_data.read_own_data` takes it, with `layout` and `classes`; or what that gave.
        out: folder for the model and all else that the training writes; no other run may be writing there.
        epochs, minutes: see `detector.training.own_data.plan.make_plan`.
        init: model file to start from; by default the one that comes with the package.
        cache: folder of cached proposals; by default `out / "proposals"`.
        tell: is called with what was found and what is planned, several lines of text at a time.

    Raises:
        InputError: the data, the starting model or `out` cannot be used.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the same call goes on.
    """
    check_length(epochs, minutes)
    out = Path(out)
    start = load_model(init, ("regions",))
    if not isinstance(data, OwnData):
        data = read_own_data(data, layout, classes)
    if data.path.is_dir() and out.resolve().is_relative_to(data.path.resolve()):
        raise InputError(f"{out}: lies in the data's own folder {data.path}; choose an --out outside of it")
    with only_run_in(out):
        tell(str(survey_data(data)))
        assert isinstance(start.config, ModelConfig)
        folder = out / "proposals" if cache is None else Path(cache)
        known = len(data.faults)
        data, covered = _propose(data, start.config, folder)
        for fault in data.faults[known:]:
            tell(f"left out     {fault}")
        split = split_data(data, seed=seed)
        tell(f"proposals    cover {100 * covered:.0f} % of the objects (IoU {_COVERED}); the others cannot be found")
        for note in split.notes:
            tell(f"note         {note}")
        parts = [ProposedImages(part, start.config.proposals, folder) for part in (split.train, split.held_back)]
        asked = {"data": split.digest, "start": weights_hash(start.network), "epochs": epochs, "minutes": minutes,
                 "seed": seed}  # fmt: skip
        machine = _machine(out, asked, lambda: _measure(split, start, parts, seed, device))
        plan = make_plan(split, start, machine, epochs, minutes, seed)
        tell(str(plan))
        trained = _trained_minutes(out)
        left_out = data.faults
        if trained is not None:
            tell(f"finished     after {trained:.1f} minutes; the model is judged again")
        else:
            loop = TrainingLoop(OwnDataTask(plan.recipe, start, *parts), out, None, device)
            loop.run()
            _calibrate(loop, out, parts[1])
            trained = loop.seconds / 60
            with atomic_write(out / _FINISHED) as temporary:
                temporary.write_text(json.dumps({"minutes": trained}) + "\n")
            assert isinstance(loop.task, OwnDataTask)
            left_out = (*left_out, *(Fault("", "", reason) for reason in loop.task.failed.values()))
        remove_checkpoints(out / CHECKPOINT)
        return _judge(out, parts[1], left_out, trained, device)


def _propose(data: OwnData, config: ModelConfig, cache: Path) -> tuple[OwnData, float]:
    """Makes all proposals; the data without the photos that cannot be read, and the part of the objects that a
    proposal covers."""
    photos = PhotoSet(data.samples, data.class_names)
    faults = []
    covered = objects = 0
    for sample, file in zip(data.samples, ProposedImages(photos, config.proposals, cache).propose(), strict=True):
        if file.proposals is None:
            faults.append((sample.id, Fault(str(sample.image_path), "", file.error or "cannot be read")))
            continue
        boxes = sample.annotations.boxes[~sample.annotations.difficult]
        objects += len(boxes)
        covered += int((_best_overlaps(boxes, file.proposals.boxes) >= _COVERED).sum())
    if faults and len(faults) == len(data.samples):
        raise InputError(f"{faults[0][1]}; no other photo can be read either")
    return data.without(faults), covered / max(1, objects)


def _best_overlaps(boxes: np.ndarray, proposals: np.ndarray) -> np.ndarray:
    if not len(boxes) or not len(proposals):
        return np.zeros(len(boxes))
    return box_iou(torch.from_numpy(boxes.copy()), torch.from_numpy(proposals.copy())).amax(dim=1).numpy()


def _machine(out: Path, asked: dict[str, Any], measure: Callable[[], Machine]) -> Machine:
    """The machine as it was measured when the training in `out` began, so that it goes on by the same plan.

    Raises:
        InputError: `out` holds another training.
    """
    path = out / PLAN
    if path.is_file():
        try:
            kept = json.loads(path.read_text())
            machine = Machine(**kept.pop("machine"))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{path}: cannot be read; remove it to start anew") from None
        for name, value in asked.items():
            if kept.get(name) != value:
                what = {"data": "on other data", "start": "from another model"}.get(name)
                what = what or f"with {name} {kept.get(name) or 'auto'}, not {value or 'auto'}"
                raise InputError(f"{out}: holds a training {what}; choose another --out, or remove this one")
        return machine
    if (out / CHECKPOINT).exists():
        raise InputError(f"{out / CHECKPOINT}: is of another training; choose another --out or remove it to start anew")
    for left in (_FINISHED, HISTORY):  # by a training whose plan was removed to start anew
        (out / left).unlink(missing_ok=True)
    machine = measure()
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({**asked, "machine": dataclasses.asdict(machine)}, indent=2) + "\n")
    return machine


def _measure(split: Split, start: Model, parts: Sequence[ProposedImages[PhotoSet]], seed: int, device: str) -> Machine:
    """Takes some steps of the training without learning from them."""
    resolved = resolve_device(device)
    recipe = make_plan(split, start, Machine(str(resolved), 1, 1.0), epochs=1, seed=seed).recipe
    task = OwnDataTask(recipe, start, parts[0], parts[1])
    transfer_weights(task.network, split.train.class_names, start)
    network = task.network.to(resolved).to(memory_format=torch.channels_last).train()
    dtype = fast_dtype(str(resolved))
    seconds = []
    for step in range(_TRIAL_STEPS[1]):
        example = task.example(step)
        began = time.perf_counter()
        context = torch.autocast(resolved.type, dtype) if dtype != torch.float32 else nullcontext()
        task.backward(network, example, context)
        network.zero_grad()
        seconds.append(time.perf_counter() - began)
    # the median: the first step of every size prepares its convolutions
    return Machine(str(resolved), torch.get_num_threads(), round(float(np.median(seconds[_TRIAL_STEPS[0] :])), 3))


def _trained_minutes(out: Path) -> float | None:
    """How long the training in `out` took; None if it has not ended or its model is gone."""
    try:
        minutes = float(json.loads((out / _FINISHED).read_text())["minutes"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return minutes if (out / MODEL).is_file() else None


def _calibrate(loop: TrainingLoop[Any], out: Path, held_back: ProposedImages[PhotoSet]) -> None:
    """Judges the best weights by all held-back photos and calibrates the model by these."""
    best = load_model(out / MODEL)
    assert isinstance(loop.task, OwnDataTask)
    plain = dataclasses.replace(best, config=loop.task.recipe.model)
    truth, table = detect_proposed(Detector(plain, str(loop.device)), held_back, len(held_back))
    calibrated = loop.task.calibrated(voc_average_precision(truth, table))
    model = dataclasses.replace(best, config=calibrated, facts={**best.facts, "images": len(held_back)})
    save_model(model, out / MODEL)


def _judge(
    out: Path, held_back: ProposedImages[PhotoSet], left_out: tuple[Fault, ...], minutes: float, device: str
) -> Fitted:
    """Judges what the file detects, with calibrated scores and in float16, by all held-back photos; draws the sheet."""
    model = load_model(out / MODEL)
    truth, table = detect_proposed(Detector(model, device), held_back, len(held_back))
    result = voc_average_precision(truth, table)
    facts = {**model.facts, "mAP": round(result.mean_ap, 4)}
    if facts != model.facts:
        save_model(dataclasses.replace(model, facts=facts), out / MODEL)
    sheet = draw_sheet(truth, table, lambda index: read_image(held_back.dataset.image_path(index)).pixels)
    with atomic_write(out / SHEET) as temporary:
        PillowImage.fromarray(sheet).save(temporary, "JPEG", quality=90)
    photo = held_back.dataset.image_path(next(i for i, s in enumerate(held_back.dataset.samples) if len(s.annotations)))
    return Fitted(out / MODEL, out / SHEET, result, photo, left_out, minutes)
