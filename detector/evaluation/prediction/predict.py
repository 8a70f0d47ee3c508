"""A detector run over the images of a data set, before it is judged."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm import tqdm

from detector.data.ground_truth import GroundTruth
from detector.data.predictions import (
    LOWEST_SCORE,
    Prediction,
    check_size,
    from_entry,
    known_classes,
    to_entry,
    write_predictions,
)
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.storage.evaluation_store import ResultStore, parts_of
from detector.structures.class_names import same_classes
from detector.structures.detections import Detections
from detector.structures.image import Image, read_image

if TYPE_CHECKING:
    from detector.inference.detector import Detector


class ImageDetector(Protocol):
    """What can be evaluated: `detector.inference.detector.Detector` or anything of the same form."""

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def class_ids(self) -> Sequence[int | str]: ...

    def detect(self, image: Image, score: float) -> Detections: ...


def predict(
    detector: ImageDetector,
    truth: GroundTruth,
    folder: Path,
    *,
    score: float = LOWEST_SCORE,
    trace: bool = False,
    store: ResultStore | None = None,
    share: tuple[int, int] = (0, 1),
    progress: bool = False,
    batch: int = 1,
    workers: int = 1,
) -> list[Prediction]:
    """Run a detector over a data set.

    An image that cannot be read or judged becomes a prediction with an `error`, and the rest goes on.

    Args:
        detector: what detects.
        truth: the images and their objects.
        folder: where the images' files are.
        score: lowest score of the detections that are kept, 0 to 1.
        trace: also find out what became of every object; needs a `detector.inference.detector.Detector`.
        store: results are written to it as they come, and images whose results it holds are not run again.
        share: (i, n): take only every n-th image, from the i-th on.
        progress: write each failed image to standard error, and a progress bar if that is a terminal.
        batch: how many images the networks see at once; more than one needs a `detector.inference.detector.Detector`.
        workers: threads that read and propose beside a batch.

    Returns:
        The predictions of the images of the share, in the order of the data set.

    Raises:
        InputError: the detector knows none of the classes, or cannot be traced or given batches.
    """
    known_classes(truth.class_names, detector.class_names, "the detector")
    indices = range(share[0], len(truth.image_ids), share[1])
    kept = {} if store is None else {key: one for key, one in store.entries.items() if _is_done(one, trace)}
    known = sum(str(truth.image_ids[i]) in kept for i in indices)
    todo = [i for i in indices if str(truth.image_ids[i]) not in kept]
    if batch == 1:
        detect = _traced(detector, truth, score) if trace else _plain(detector, score)
        made: Iterator[Prediction] = (_predict_one(detect, truth, i, folder) for i in todo)
    else:
        made = _predict_batches(detector, truth, folder, todo, score, trace, batch, workers)
    predictions = []
    with tqdm(total=len(indices), initial=known, desc="evaluate", unit="image",
              disable=None if progress else True) as bar:  # fmt: skip
        for i in indices:
            key = str(truth.image_ids[i])
            if key in kept:
                predictions.append(from_entry(kept[key], truth.image_ids[i], detector.class_names, detector.class_ids))
                continue
            prediction = next(made)
            if prediction.error is not None and progress:
                tqdm.write(f"{prediction.image_id}: {prediction.error}", file=sys.stderr)
            if store is not None:
                store.add(to_entry(prediction, key))
            predictions.append(prediction)
            bar.update()
    return predictions


def _is_done(entry: Mapping[str, Any], trace: bool) -> bool:
    return "error" not in entry and (not trace or "objects" in entry)


_Detect = Callable[[Image, int], tuple[Detections, ObjectTraces | None]]


def _plain(detector: ImageDetector, score: float) -> _Detect:
    return lambda image, _: (detector.detect(image, score), None)


def _traced(detector: ImageDetector, truth: GroundTruth, score: float) -> _Detect:
    from detector.evaluation.prediction.tracing import detect_traced  # imports torch, as its detector has done already

    own = _our_detector(detector, "can be traced")
    objects = _objects(truth, detector.class_names)
    return lambda image, index: detect_traced(own, image, *objects(index), score)


def _our_detector(detector: ImageDetector, can: str) -> "Detector":
    from detector.inference.detector import Detector

    if not isinstance(detector, Detector):
        raise InputError(f"only a detector.inference.detector.Detector {can}")
    return detector


def _objects(truth: GroundTruth, known: Sequence[str]) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Boxes of an image's objects and their classes as a detector numbers those it knows; -1: it does not."""
    place = {name: i for i, name in enumerate(known)}
    same = same_classes(truth.class_names, known)
    labels = np.array([place[same[name]] if name in same else -1 for name in truth.class_names], np.int64)
    rows = truth.rows_by_image()
    return lambda index: (truth.boxes[rows[index]], labels[truth.labels[rows[index]]])


def _read(truth: GroundTruth, index: int, folder: Path) -> Image:
    image = read_image(folder / truth.files[index])
    width, height = truth.image_sizes[index].tolist()
    if width > 0:
        check_size((image.width, image.height), (width, height))
    return image


def _predict_one(detect: _Detect, truth: GroundTruth, index: int, folder: Path) -> Prediction:
    image_id = truth.image_ids[index]
    try:
        image = _read(truth, index, folder)
        started = time.perf_counter()
        detections, traces = detect(image, index)
        return Prediction(image_id, detections, time.perf_counter() - started, traces=traces)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:  # torch: no memory is a RuntimeError
        return _failed(image_id, error)


def _failed(image_id: str | int, error: Exception) -> Prediction:
    return Prediction(image_id, None, error=" ".join(str(error).split()) or "not enough memory")


def _predict_batches(
    detector: ImageDetector,
    truth: GroundTruth,
    folder: Path,
    indices: Sequence[int],
    score: float,
    trace: bool,
    batch: int,
    workers: int,
) -> Generator[Prediction, None, None]:
    from detector.evaluation.prediction.tracing import trace_objects
    from detector.inference.batching import Scored, in_batches  # imports torch, as its detector has done already

    own = _our_detector(detector, "takes several images at once")
    objects = _objects(truth, detector.class_names)

    def finish(index: int, scored: Scored) -> Prediction:
        started = time.perf_counter()
        detections = own.suppress(scored.proposals, scored.scores, score)
        traces = trace_objects(scored.proposals, scored.scores, *objects(index)) if trace else None
        seconds = scored.seconds + time.perf_counter() - started
        return Prediction(truth.image_ids[index], detections, seconds, traces=traces)

    made = in_batches(own, indices, lambda i: _read(truth, i, folder), finish, batch, workers)
    with closing(made):
        for index, one in zip(indices, made, strict=True):
            yield _failed(truth.image_ids[index], one) if isinstance(one, Exception) else one


def run_detector(
    detector: ImageDetector,
    truth: GroundTruth,
    folder: Path,
    save: Path | None = None,
    *,
    made_by: Mapping[str, Any] | None = None,
    keep_parts: bool = False,
    score: float = LOWEST_SCORE,
    trace: bool = False,
    progress: bool = False,
    batch: int = 1,
    workers: int = 1,
) -> list[Prediction] | None:
    """`predictions.predict` over a data set, which can be stopped at any time and goes on when it is called again.

    Each of the processes that torchrun started takes its share of the images; all of them have to call this.

    Args:
        save: file for the detections (`write_predictions`). Until all images are done they are kept in parts beside
            it, see `store.ResultStore`. None: nothing is kept, and a stopped run starts anew.
        made_by: what the results depend on besides the data: parts that something else has made are refused.
        keep_parts: leave the parts to `remove_parts`, for after what is made of the detections is written too.
        score, trace, progress, batch, workers: as for `predict`.

    Returns:
        The predictions in the order of the data set; None in all processes but the first.

    Raises:
        InputError: there are several processes and no `save`, parts are of another evaluation, or what `predict`
            refuses.
    """
    process, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if save is None:
        if processes > 1:
            raise InputError("several processes need a file for their detections: give --save-detections FILE")
        return predict(
            detector, truth, folder, score=score, trace=trace, progress=progress, batch=batch, workers=workers
        )
    described = {**(made_by or {}), "data": _digest(truth), "score": score}
    with ResultStore(save, described, process) as store:
        own = predict(
            detector,
            truth,
            folder,
            score=score,
            trace=trace,
            store=store,
            share=(process, processes),
            progress=progress and process == 0,
            batch=batch,
            workers=workers,
        )
        if processes == 1:
            predictions = own
        else:
            from detector.ops.distributed import process_group, wait_for_all  # torch

            with process_group("cpu"):
                wait_for_all()
                entries = store.gather() if process == 0 else {}
                wait_for_all()  # the first has read the parts before any process deletes or changes one
            if process > 0:
                return None
            predictions = [
                from_entry(entries[str(image_id)], image_id, detector.class_names, detector.class_ids)
                for image_id in truth.image_ids
            ]
        write_predictions(save, predictions, truth)
    if not keep_parts:
        remove_parts(save)
    return predictions


def remove_parts(save: Path) -> None:
    """Deletes the parts beside a file of detections."""
    for part in parts_of(save):
        part.unlink(missing_ok=True)


def _digest(truth: GroundTruth) -> str:
    content = json.dumps([truth.image_ids, truth.files, truth.class_names]).encode()
    columns = (truth.images, truth.labels, truth.boxes, truth.difficult, truth.crowd)
    objects = b"".join(one.tobytes() for one in columns)
    return hashlib.blake2b(content + objects, digest_size=16).hexdigest()
