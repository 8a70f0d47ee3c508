"""A detector of the user's own classes from their photos: all of `detector train --data`."""

import copy
import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torchvision.ops import box_iou

from detector.config import ModelConfig
from detector.data.custom_dataset import CustomDataset, Layout, read_custom_dataset
from detector.data.faults import Fault
from detector.data.image_labels import read_image_labels
from detector.data.summary import summarize
from detector.errors import InputError
from detector.evaluation.evaluation import DEFAULT_SCORE
from detector.evaluation.metrics.calibration import fit_calibration
from detector.evaluation.metrics.voc import voc_average_precision
from detector.evaluation.report.sheet import draw_sheet
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import Model, load_model, save_model, weights_hash
from detector.ops.devices import resolve_device
from detector.ops.precision import fast_dtype
from detector.storage.run_lock import run_lock
from detector.structures.image import read_image
from detector.training.budget import Budget
from detector.training.checkpoint import CHECKPOINT, refuse_unfinished, remove_checkpoints
from detector.training.custom_dataset.plan import PLAN, Machine, Settings, frozen_part, make_plan, too_short
from detector.training.custom_dataset.result import FitResult
from detector.training.custom_dataset.sizes import choose_sizes
from detector.training.custom_dataset.split import Split, add_unlabeled, keep_classes, split_data
from detector.training.custom_dataset.task import HISTORY, MODEL, CustomDatasetTask, read_history
from detector.training.data import ProposedImages
from detector.training.loop import TrainingLoop
from detector.training.photos import PhotoSet
from detector.training.pseudo_labels import find_unlabeled
from detector.training.recipes import Labels
from detector.training.tasks.rfcn import detect_proposed
from proposals.files import atomic_write

_logger = logging.getLogger(__name__)

SHEET = "sheet.jpg"
_FINISHED = "finished.json"
"""File with the minutes and steps of a training that has ended, whose checkpoints are removed."""
_TRIAL_STEPS = (3, 9)
"""Steps before the measured ones, and all steps of the measurement."""
_TRIAL_SECONDS = 5
"""The measurement ends after this time; the training measures its steps again."""
_COVERED_IOU = 0.5
_PROPOSING = 0.75
"""Largest part of the requested minutes for proposals."""
_MIN_CALIBRATION = 10
"""Fewest right and fewest wrong detections for a calibration."""


def fit(
    data: str | Path | CustomDataset,
    out: str | Path,
    *,
    layout: Layout | None = None,
    classes: str | Iterable[str] | None = None,
    skip_bad_labels: bool = False,
    init: str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    on_step: Callable[[dict[str, float]], None] | None = None,
    log: Callable[[str], None] = _logger.info,
    **options: Any,
) -> FitResult:
    """Trains a detector of the classes in `data`, starting from a trained one.

    `minutes` limit the time of everything, over all calls: proposals, training, evaluation. If they do not suffice for
    the steps of the rule, the learning rate falls in fewer steps, as planned anew at each.

    A training that has ended keeps no checkpoints, only the model, which a further call with `resume` evaluates again.

    Args:
        data: as `detector.data.custom_dataset.read_custom_dataset` takes it, with `layout`, `classes` and
            `skip_bad_labels`; or what that function returned.
        out: folder for the model and all other output, in which no other run may be writing.
        init: model file to start from; by default the model in the package.
        cache: folder of cached proposals; by default `out / "proposals"`.
        resume: continue the training in `out`, if there is one; it must have the same data and settings.
        on_step: called after each step with its numbers (`TrainingLoop`).
        log: called with the summary of the data, the plan and notes, each of one or more lines.
        options: fields of `detector.training.custom_dataset.plan.Settings`, such as `epochs` or `lr`.

    Raises:
        InputError: the data, a setting, the starting model or `out` cannot be used, or `out` holds a training that is
            not to be resumed.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; the same call with `resume` continues.
    """
    began = time.perf_counter()
    settings = Settings.checked(**options)
    minutes = settings.minutes
    resolve_device(device)
    out = Path(out)
    if not resume:
        refuse_unfinished(out, PLAN)
    start = load_model(init, ("regions",))
    frozen_part(settings, start)
    if not isinstance(data, CustomDataset):
        read = read_image_labels if settings.labels == "image" else read_custom_dataset
        data = read(data, layout, classes, skip_bad_labels=skip_bad_labels)
    if data.image_labels != (settings.labels == "image"):
        raise InputError(f"{data.path}: was read for other labels than labels={settings.labels!r}")
    unlabeled: CustomDataset | None = None
    if settings.unlabeled is not None:
        unlabeled = find_unlabeled(Path(settings.unlabeled), (sample.image_path for sample in data.samples))
    assert isinstance(start.config, ModelConfig)
    config, sizes = choose_sizes(start.config, data.samples, settings)
    start = dataclasses.replace(start, config=config)
    for path in [data.path, *([] if unlabeled is None else [unlabeled.path])]:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise InputError(f"{out}: lies inside the data folder {path}; choose an --out outside of it")
    with run_lock(out):
        log(summarize(data))
        folder = out / "proposals" if cache is None else Path(cache)
        logged_faults = len(data.faults)
        deadline = began + _PROPOSING * 60 * minutes if minutes is not None else math.inf
        data, covered = _propose(data, config, folder, deadline)
        if unlabeled is not None:
            unlabeled, _ = _propose(unlabeled, config, folder, deadline)
            data = dataclasses.replace(data, faults=(*data.faults, *unlabeled.faults))
        if minutes is None:  # the default time limit does not include proposals
            began = time.perf_counter()
        for fault in data.faults[logged_faults:]:
            log(f"left out     {fault}")
        split = split_data(data, seed=settings.seed)
        if settings.keep:
            split = keep_classes(split, start)
        if unlabeled is not None:
            split = add_unlabeled(split, unlabeled)
        if settings.labels == "boxes":
            covered_share = f"{100 * covered:.0f} % of the objects (IoU {_COVERED_IOU})"
            log(f"proposals    cover {covered_share}; the rest cannot be detected")
        for note in (*sizes, *split.notes):
            log(f"note         {note}")
        train, val = (ProposedImages(photos, config.proposals, folder) for photos in (split.train, split.val))
        extra = None if split.unlabeled is None else ProposedImages(split.unlabeled, config.proposals, folder)
        request = {
            # The data come last, because another seed changes their split too.
            **{name: value for name, value in dataclasses.asdict(settings).items() if value is not None},
            "start": weights_hash(start.network),
            "data": split.digest,
        }
        machine = _load_or_measure(out, request, lambda: _measure(split, start, train, val, extra, settings, device))
        plan = make_plan(split, start, machine, settings, began)
        log(str(plan))
        finished = _read_finished(out)
        left_out, budget = data.faults, plan.budget
        if finished is not None:
            log(f"finished     after {finished[0]:.1f} minutes; evaluating the model again")
            budget = Budget()
        else:
            task = CustomDatasetTask(plan.recipe, start, train, val, budget, extra)
            loop = TrainingLoop(task, out, None, device, budget=budget, on_step=on_step)
            loop.run()
            _calibrate(task, out, str(loop.device))
            finished = budget.elapsed / 60, loop.step
            with atomic_write(out / _FINISHED) as temporary:
                temporary.write_text(json.dumps(dict(zip(("minutes", "steps"), finished, strict=True))) + "\n")
            left_out = (*left_out, *(Fault("", "", reason) for reason in task.failed.values()))
        remove_checkpoints(out / CHECKPOINT)
        trained, steps = finished
        warning = too_short(plan.recipe, steps, trained)
        return _evaluate(out, val, left_out, trained, warning, budget, device, settings.labels)


def _propose(data: CustomDataset, config: ModelConfig, cache: Path, deadline: float) -> tuple[CustomDataset, float]:
    """Makes all proposals.

    Returns:
        The data without unreadable photos, and the fraction of the objects that a proposal covers.

    Raises:
        InputError: it takes longer than until the deadline, or no photo can be read.
    """
    photos = PhotoSet(data.samples, data.class_names)
    faults: list[tuple[str, Fault]] = []
    covered = objects = 0
    proposed = ProposedImages(photos, config.proposals, cache).propose()
    for number, (sample, file) in enumerate(zip(data.samples, proposed, strict=True)):
        if time.perf_counter() > deadline:
            raise InputError(
                f"{cache}: time for proposals ran out after {number} of {len(photos)} photos, which are kept; "
                "continue with --resume, or give more --minutes"
            )
        if file.proposals is None:
            faults.append((sample.id, Fault(str(sample.image_path), "", file.error or "cannot be read")))
            continue
        boxes = sample.annotations.boxes[~sample.annotations.difficult]
        objects += len(boxes)
        if len(boxes) and len(file.proposals.boxes):
            overlaps = box_iou(torch.from_numpy(boxes), torch.tensor(file.proposals.boxes))
            covered += int((overlaps.amax(dim=1) >= _COVERED_IOU).sum())
    if faults and len(faults) == len(data.samples):
        raise InputError(f"{faults[0][1]}; none of the photos can be read")
    return data.without(faults), covered / max(1, objects)


def _load_or_measure(out: Path, request: dict[str, Any], measure: Callable[[], Machine]) -> Machine:
    """The machine as measured when the training in `out` began, so that a resumed one keeps its plan.

    Raises:
        InputError: `out` holds another training.
    """
    path = out / PLAN
    if path.is_file():
        try:
            saved = json.loads(path.read_text())
            machine = Machine(**saved.pop("machine"))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{path}: cannot be read; remove it to start over") from None
        for name in {**request, **saved}:
            value = request.get(name)
            if saved.get(name) != value:
                what = {"data": "on other data", "start": "from another model"}.get(name)
                old, new = ("auto" if setting is None else setting for setting in (saved.get(name), value))
                what = what or f"with {name} {old}, not {new}"
                raise InputError(f"{out}: holds a training {what}; choose another --out, or remove this one")
        return machine
    if (out / CHECKPOINT).exists():
        raise InputError(f"{out / CHECKPOINT}: is of another training; choose another --out, or remove it")
    for leftover in (_FINISHED, HISTORY):  # of a training whose plan was removed to start over
        (out / leftover).unlink(missing_ok=True)
    machine = measure()
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({**request, "machine": dataclasses.asdict(machine)}, indent=2) + "\n")
    return machine


def _measure(
    split: Split,
    start: Model,
    train: ProposedImages[PhotoSet],
    val: ProposedImages[PhotoSet],
    unlabeled: ProposedImages[PhotoSet] | None,
    settings: Settings,
    device: str,
) -> Machine:
    """Times some steps of the training without updating the weights."""
    resolved = resolve_device(device)
    recipe = make_plan(split, start, Machine(str(resolved), 1, 1.0), settings).recipe
    task = CustomDatasetTask(recipe, start, train, val, Budget(), unlabeled)
    task.initialize(None)
    network = task.network.to(resolved).to(memory_format=torch.channels_last).train()
    task.before_step(copy.deepcopy(network), math.inf)
    dtype = fast_dtype(str(resolved))
    seconds: list[float] = []
    for step in range(_TRIAL_STEPS[1]):
        if sum(seconds) > _TRIAL_SECONDS:
            break
        example = task.example(step)
        began = time.perf_counter()
        task.backward(network, example, torch.autocast(resolved.type, dtype, enabled=dtype != torch.float32))
        network.zero_grad()
        seconds.append(time.perf_counter() - began)
    # The median, because the first step of every input size prepares its convolutions.
    measured = seconds[_TRIAL_STEPS[0] :] or seconds[-1:]
    return Machine(str(resolved), torch.get_num_threads(), round(float(np.median(measured)), 3))


def _read_finished(out: Path) -> tuple[float, int] | None:
    """Minutes and steps of the training in `out`; None if it has not ended or its model is missing."""
    try:
        saved = json.loads((out / _FINISHED).read_text())
        minutes, steps = float(saved["minutes"]), int(saved["steps"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return (minutes, steps) if (out / MODEL).is_file() else None


def _calibrate(task: CustomDatasetTask, out: Path, device: str) -> None:
    """Calibrates the model by its detections on the validation photos, or on those that there is time for."""
    model = load_model(out / MODEL)
    start = task.recipe.model.postprocess
    post = dataclasses.replace(start, class_calibrations=())
    uncalibrated = dataclasses.replace(model, config=dataclasses.replace(task.recipe.model, postprocess=post))
    now, end = time.perf_counter(), task.budget.deadline(closing=False)
    result = voc_average_precision(
        *detect_proposed(
            DetectionPipeline(uncalibrated, device),
            task.val,
            len(task.val),
            now + (end - now) / 2,
            task.recipe.data.labels,
        )
    )
    hits = np.concatenate([c.true_positive for c in result.classes.values()])
    right, wrong = int(hits.sum()), int((~hits).sum())
    fitted = post.calibration
    if min(right, wrong) < _MIN_CALIBRATION:
        summary = f"not calibrated: {right} right and {wrong} wrong detections, {_MIN_CALIBRATION} of each are needed"
    else:
        fitted = fit_calibration(result, fitted)
        summary = f"calibrated by {right} right and {wrong} wrong detections"
        if all(len(sample.annotations) for sample in task.val.dataset.samples):
            summary += ", all in photos with objects: scores are too high in photos without"
        if task.recipe.data.labels == "image":
            summary += "; right are those of a class that the photo shows, wherever the box is"
    if task.kept:
        before = start.class_calibrations or [start.calibration] * len(model.class_names)
        calibrations = tuple(old if k in task.kept else fitted for k, old in enumerate(before))
        post = dataclasses.replace(post, class_calibrations=calibrations)
    else:
        post = dataclasses.replace(post, calibration=fitted)
    config = dataclasses.replace(task.recipe.model, postprocess=post)
    metadata = {**model.metadata, "calibration": summary}
    save_model(dataclasses.replace(model, config=config, metadata=metadata), out / MODEL)


def _evaluate(
    out: Path,
    val: ProposedImages[PhotoSet],
    left_out: tuple[Fault, ...],
    minutes: float,
    warning: str,
    budget: Budget,
    device: str,
    labels: Labels,
) -> FitResult:
    """Evaluates the model file, with its calibrated scores and float16 weights, on all validation photos that there is
    time for; draws the sheet."""
    model = load_model(out / MODEL)
    deadline = budget.deadline(closing=False)
    truth, detections = detect_proposed(DetectionPipeline(model, device), val, len(val), deadline, labels)
    result = voc_average_precision(truth, detections)
    best = result.best_score()
    score = None if math.isnan(best) else math.floor(1000 * best) / 1000
    metadata = {**model.metadata, "mAP": round(result.mean_ap, 4), "images": len(truth.image_ids), "score": score}
    if metadata != model.metadata:
        save_model(dataclasses.replace(model, metadata=metadata), out / MODEL)
    shown = DEFAULT_SCORE if score is None else score
    sheet = draw_sheet(truth, detections, lambda index: read_image(val.dataset.image_path(index)).pixels, shown)
    with atomic_write(out / SHEET) as temporary:
        PillowImage.fromarray(sheet).save(temporary, "JPEG", quality=90)
    return FitResult(
        model=out / MODEL,
        sheet=out / SHEET,
        result=result,
        evaluated=(len(truth.image_ids), len(val)),
        score=score,
        calibration=metadata["calibration"],
        photo=next(sample.image_path for sample in val.dataset.samples if len(sample.annotations)),
        left_out=left_out,
        minutes=minutes,
        history=read_history(out),
        warning=warning,
        labels=labels,
    )
