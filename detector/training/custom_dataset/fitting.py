"""A detector of a user's own classes from their photos: all of `detector train --data`."""

import dataclasses
import json
import logging
import math
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
from detector.data.custom_dataset import CustomDataset, Layout, read_custom_dataset
from detector.data.faults import Fault
from detector.errors import InputError
from detector.evaluation.evaluation import DEFAULT_SCORE
from detector.evaluation.metrics.calibration import fit_calibration
from detector.evaluation.metrics.voc import VOCResult, voc_average_precision
from detector.evaluation.report.sheet import draw_sheet
from detector.inference.detector import Detector
from detector.models.weights import Model, load_model, save_model, weights_hash
from detector.ops.devices import resolve_device
from detector.ops.precision import fast_dtype
from detector.storage.run_lock import run_lock
from detector.structures.image import read_image
from detector.training.budget import Budget
from detector.training.checkpoint import CHECKPOINT, remove_checkpoints
from detector.training.custom_dataset.plan import PLAN, Machine, check_length, make_plan, too_short
from detector.training.custom_dataset.split import PhotoSet, Split, listed, split_data
from detector.training.custom_dataset.survey import survey_data
from detector.training.custom_dataset.task import HISTORY, MODEL, CustomDatasetTask
from detector.training.custom_dataset.transfer import transfer_weights
from detector.training.data import ProposedImages
from detector.training.loop import TrainingLoop
from detector.training.tasks.rfcn import detect_proposed
from proposals.files import atomic_write

log = logging.getLogger(__name__)

SHEET = "sheet.jpg"
_FINISHED = "finished.json"
"""Minutes and steps of a training that has ended, whose checkpoints are removed."""
_TRIAL_STEPS = (3, 9)
"""Steps before the measured ones, and in all."""
_TRIAL_SECONDS = 5
"""After which no further one is taken: the training measures its steps itself."""
_COVERED = 0.5
_FEW = 10
"""Held-back objects of a class, below which one of them can move its AP by more than ten points."""
_PROPOSING = 0.75
"""Of the minutes that were asked for, most for proposals."""
_CALIBRATING = 10
"""Right and wrong detections that a calibration of its own needs at least."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a training gave.

    Attributes:
        model: the model file.
        sheet: the picture of hits and misses.
        result: of the model on the held-back photos.
        judged: number of these that there was time for, and of all.
        score: lowest score to show, that of the best F1 on the held-back photos; None if nothing was found there.
        calibration: by what the scores are calibrated, or why they are not.
        photo: a held-back photo, to try the model on.
        left_out: photos that could not be used, and why.
        minutes: of training, over all of its parts.
        warning: what to know of a training that was too short; "" of any other.
    """

    model: Path
    sheet: Path
    result: VOCResult
    judged: tuple[int, int]
    score: float | None
    calibration: str
    photo: Path
    left_out: tuple[Fault, ...]
    minutes: float
    warning: str

    def __str__(self) -> str:
        width = max(len(name) for name in self.result.classes)
        judged = {name: one for name, one in self.result.classes.items() if one.objects}
        photos, val = self.judged
        cut = f", {photos} of {val} for lack of time" if photos < val else ""
        mean_ap = f"{100 * self.result.mean_ap:.1f}"
        lines = [
            f"  {name:{width}}  AP {100 * one.ap:5.1f}, {one.objects} object{'s' * (one.objects != 1)}"
            for name, one in judged.items()
        ]
        if few := [name for name, one in judged.items() if one.objects < _FEW]:
            lines.append(f"note         an AP of fewer than {_FEW} objects says little, one can move it by 10 points: "
                         f"{listed(few)}")  # fmt: skip
        return "\n".join(
            [
                f"mAP          {mean_ap} on the held-back photos (VOC07's 11 points, IoU 0.5{cut})",
                *lines,
                f"at score 0.5 {self._shown(0.5)}",
                *([] if self.score is None else [f"best F1      at score {self.score:g}: {self._shown(self.score)}"]),
                f"scores       {self.calibration}",
                f"trained      {self.minutes:.1f} minutes",
                f"hits, misses {self.sheet}",
                f"model        {self.model}",
                *([f"warning      {self.warning}"] if self.warning else []),
            ]
        )

    def _shown(self, score: float) -> str:
        precision, recall = self.result.at_score(score)
        # no number is right about nothing: NaN is the precision of no detections
        return f"precision {precision:.2f}, recall {recall:.2f}" if precision == precision else "no detections"


def fit(
    data: str | Path | CustomDataset,
    out: str | Path,
    *,
    layout: Layout | None = None,
    classes: str | Iterable[str] | None = None,
    skip_bad_labels: bool = False,
    epochs: int | None = None,
    minutes: float | None = None,
    init: str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    log: Callable[[str], None] = log.info,
) -> Fitted:
    """Trains a detector of the classes in `data`, starting from a trained one. Called again, it goes on.

    `minutes` bound all that is done here, over all calls: proposals, training, judging. Where they do not suffice for
    the steps that the rule asks for, the rate falls in fewer steps, planned anew at each.

    A training that has ended leaves no checkpoints, only the model; called again, that is judged again.

    Args:
        data: as `detector.data.custom_dataset.read_custom_dataset` takes it, with `layout`, `classes` and
            `skip_bad_labels`; or what that gave.
        out: folder for the model and all else that the training writes; no other run may be writing there.
        epochs, minutes: see `detector.training.custom_dataset.plan.make_plan`.
        init: model file to start from; by default the one that comes with the package.
        cache: folder of cached proposals; by default `out / "proposals"`.
        log: is called with what was found and what is planned, several lines of text at a time.

    Raises:
        InputError: the data, the starting model or `out` cannot be used.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the same call goes on.
    """
    began = time.perf_counter()
    check_length(epochs, minutes)
    out = Path(out)
    start = load_model(init, ("regions",))
    if not isinstance(data, CustomDataset):
        data = read_custom_dataset(data, layout, classes, skip_bad_labels=skip_bad_labels)
    if data.path.is_dir() and out.resolve().is_relative_to(data.path.resolve()):
        raise InputError(f"{out}: lies in the data's own folder {data.path}; choose an --out outside of it")
    with run_lock(out):
        log(str(survey_data(data)))
        assert isinstance(start.config, ModelConfig)
        folder = out / "proposals" if cache is None else Path(cache)
        known = len(data.faults)
        deadline = began + _PROPOSING * 60 * minutes if minutes is not None else math.inf
        data, covered = _propose(data, start.config, folder, deadline)
        if minutes is None:  # proposals come on top of what is taken by default
            began = time.perf_counter()
        for fault in data.faults[known:]:
            log(f"left out     {fault}")
        split = split_data(data, seed=seed)
        log(f"proposals    cover {100 * covered:.0f} % of the objects (IoU {_COVERED}); the others cannot be found")
        for note in split.notes:
            log(f"note         {note}")
        parts = [ProposedImages(part, start.config.proposals, folder) for part in (split.train, split.val)]
        asked = {"data": split.digest, "start": weights_hash(start.network), "epochs": epochs, "minutes": minutes,
                 "seed": seed}  # fmt: skip
        machine = _machine(out, asked, lambda: _measure(split, start, parts, seed, device))
        plan = make_plan(split, start, machine, epochs, minutes, seed, began)
        log(str(plan))
        finished = _finished(out)
        left_out = data.faults
        budget = plan.budget
        if finished is not None:
            log(f"finished     after {finished[0]:.1f} minutes; the model is judged again")
            budget = Budget()
        else:
            task = CustomDatasetTask(plan.recipe, start, parts[0], parts[1], budget)
            loop = TrainingLoop(task, out, None, device, budget=budget)
            loop.run()
            _calibrate(task, out, str(loop.device))
            finished = budget.elapsed / 60, loop.step
            with atomic_write(out / _FINISHED) as temporary:
                temporary.write_text(json.dumps(dict(zip(("minutes", "steps"), finished, strict=True))) + "\n")
            left_out = (*left_out, *(Fault("", "", reason) for reason in task.failed.values()))
        remove_checkpoints(out / CHECKPOINT)
        warning = too_short(plan.recipe, finished[1], finished[0])
        return _judge(out, parts[1], left_out, finished[0], warning, budget, device)


def _propose(data: CustomDataset, config: ModelConfig, cache: Path, deadline: float) -> tuple[CustomDataset, float]:
    """Makes all proposals; the data without the photos that cannot be read, and the part of the objects that a
    proposal covers.

    Raises:
        InputError: it takes longer than until the deadline; what is made is in the cache.
    """
    photos = PhotoSet(data.samples, data.class_names)
    faults: list[tuple[str, Fault]] = []
    covered = objects = 0
    proposed = ProposedImages(photos, config.proposals, cache).propose()
    for number, (sample, file) in enumerate(zip(data.samples, proposed, strict=True)):
        if time.perf_counter() > deadline:
            raise InputError(
                f"{cache}: most of the minutes went by with proposals for {number} of {len(photos)} photos, which are "
                "kept; the same command goes on from there, or give more --minutes"
            )
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
    task = CustomDatasetTask(recipe, start, parts[0], parts[1], Budget())
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
        if sum(seconds) > _TRIAL_SECONDS:
            break
    # the median: the first step of every size prepares its convolutions
    measured = seconds[_TRIAL_STEPS[0] :] or seconds[-1:]
    return Machine(str(resolved), torch.get_num_threads(), round(float(np.median(measured)), 3))


def _finished(out: Path) -> tuple[float, int] | None:
    """Minutes and steps of the training in `out`; None if it has not ended or its model is gone."""
    try:
        kept = json.loads((out / _FINISHED).read_text())
        minutes, steps = float(kept["minutes"]), int(kept["steps"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return (minutes, steps) if (out / MODEL).is_file() else None


def _calibrate(task: CustomDatasetTask, out: Path, device: str) -> None:
    """Calibrates the model by what it finds on all held-back photos, or on those that there is time for."""
    model = load_model(out / MODEL)
    assert isinstance(model.config, ModelConfig)
    post = task.recipe.model.postprocess
    plain = dataclasses.replace(model, config=task.recipe.model)
    now, end = time.perf_counter(), task.budget.deadline(closing=False)
    result = voc_average_precision(
        *detect_proposed(Detector(plain, device), task.val, len(task.val), now + (end - now) / 2)
    )
    hits = np.concatenate([one.true_positive for one in result.classes.values()])
    right, wrong = int(hits.sum()), int((~hits).sum())
    calibrated = min(right, wrong) >= _CALIBRATING
    if calibrated:
        post = dataclasses.replace(post, calibration=fit_calibration(result, post.calibration))
    told = f"calibrated by {right} right and {wrong} wrong detections"
    if not calibrated:
        told = f"not calibrated: {right} right and {wrong} wrong detections, {_CALIBRATING} of each are needed"
    elif all(len(sample.annotations) for sample in task.val.dataset.samples):
        told += ", all in photos with objects: in others they are too high"
    config = dataclasses.replace(task.recipe.model, postprocess=post)
    save_model(dataclasses.replace(model, config=config, metadata={**model.metadata, "calibration": told}), out / MODEL)


def _judge(
    out: Path,
    val: ProposedImages[PhotoSet],
    left_out: tuple[Fault, ...],
    minutes: float,
    warning: str,
    budget: Budget,
    device: str,
) -> Fitted:
    """Judges what the file detects, with calibrated scores and in float16, by all held-back photos that there is time
    for; draws the sheet."""
    model = load_model(out / MODEL)
    deadline = budget.deadline(closing=False)
    truth, table = detect_proposed(Detector(model, device), val, len(val), deadline)
    result = voc_average_precision(truth, table)
    best = result.best_score()
    score = None if math.isnan(best) else math.floor(1000 * best) / 1000
    metadata = {**model.metadata, "mAP": round(result.mean_ap, 4), "images": len(truth.image_ids), "score": score}
    if metadata != model.metadata:
        save_model(dataclasses.replace(model, metadata=metadata), out / MODEL)
    sheet = draw_sheet(
        truth, table, lambda index: read_image(val.dataset.image_path(index)).pixels, score or DEFAULT_SCORE
    )
    with atomic_write(out / SHEET) as temporary:
        PillowImage.fromarray(sheet).save(temporary, "JPEG", quality=90)
    photo = val.dataset.image_path(next(i for i, s in enumerate(val.dataset.samples) if len(s.annotations)))
    calibration = metadata["calibration"]
    judged = len(truth.image_ids), len(val)
    return Fitted(out / MODEL, out / SHEET, result, judged, score, calibration, photo, left_out, minutes, warning)
