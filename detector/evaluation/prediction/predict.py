"""Running a detector over the images of a data set: resumable, and shared by the processes of torchrun."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np

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
from detector.errors import FAULTS, InputError
from detector.io.progress import Progress
from detector.storage.run_store import ResultStore, parts_of
from detector.structures.class_names import same_classes
from detector.structures.detections import Detections
from detector.structures.image import Image, read_image

# What imports torch is imported in functions: evaluating the detections of a file does not need it.


class ImageDetector(Protocol):
    """What can be evaluated: a `detector.inference.pipeline.DetectionPipeline` or any object with these members."""

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def class_ids(self) -> Sequence[int | str]: ...

    def detect(self, image: Image, score: float) -> Detections: ...


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
    """`predict` over a data set, which can be stopped at any time and continues when it is called again.

    Each of the processes that torchrun starts takes its share of the images; all of them have to call this.

    Args:
        save: file for the detections (`write_predictions`). Until all images are done they are kept in parts beside
            it, see `ResultStore`. None: nothing is kept, and a stopped run starts over.
        made_by: what the results depend on besides the data; parts made by anything else are rejected.
        keep_parts: leave the parts in place; `remove_parts` deletes them once the results of the detections are
            written too.
        score, trace, progress, batch, workers: as for `predict`.

    Returns:
        The predictions in the order of the data set; None in all processes but the first.

    Raises:
        InputError: there are several processes and no `save`, parts belong to another evaluation, or `predict` raises
            it.
    """
    process, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if save is None and processes > 1:
        raise InputError("several processes need a file for their detections: give --save-detections FILE")
    key = {**(made_by or {}), "data": _digest(truth), "score": score}
    with nullcontext() if save is None else ResultStore(save, key, process) as store:
        predictions = predict(
            detector, truth, folder, score=score, trace=trace, store=store, share=(process, processes),
            progress=progress and process == 0, batch=batch, workers=workers,
        )  # fmt: skip
        if save is None or store is None:
            return predictions
        if processes > 1:
            from detector.ops.distributed import process_group, wait_for_all

            with process_group("cpu"):
                wait_for_all()
                entries = store.gather() if process == 0 else {}
                wait_for_all()  # the first process has read the parts before any process deletes or changes one
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
    """Delete the parts beside a file of detections."""
    for part in parts_of(save):
        part.unlink(missing_ok=True)


def _digest(truth: GroundTruth) -> str:
    content = json.dumps([truth.image_ids, truth.files, truth.class_names]).encode()
    columns = (truth.images, truth.labels, truth.boxes, truth.difficult, truth.crowd)
    return hashlib.blake2b(content + b"".join(column.tobytes() for column in columns), digest_size=16).hexdigest()


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

    An image that cannot be read or processed becomes a prediction with an `error`; the rest continue.

    Args:
        truth: the images and their objects.
        folder: folder of the images' files.
        score: lowest score of the detections to keep, 0 to 1.
        trace: also record how each stage treated every object; needs a `detector.inference.pipeline.DetectionPipeline`.
        store: receives each result at once; images whose results it has are skipped.
        share: (i, n): take only every n-th image, starting with the i-th.
        progress: write each failed image to standard error, with a progress bar if that is a terminal.
        batch: number of images in one pass of the networks; more than one needs a
            `detector.inference.pipeline.DetectionPipeline`.
        workers: threads that read and propose while the networks run, with a batch.

    Returns:
        The predictions of the images of the share, in the order of the data set.

    Raises:
        InputError: the detector has none of the classes, or it does not support traces or batches.
    """
    known_classes(truth.class_names, detector.class_names, "the detector")
    indices = range(share[0], len(truth.image_ids), share[1])
    kept = {
        key: entry
        for key, entry in (store.entries.items() if store is not None else ())
        if "error" not in entry and (not trace or "objects" in entry)
    }
    remaining = [i for i in indices if str(truth.image_ids[i]) not in kept]
    if batch == 1 and not trace:
        made = _predict_singly(detector, truth, folder, remaining, score)
    else:
        made = _predict_batches(detector, truth, folder, remaining, score, trace, batch, workers)
    predictions = []
    done = len(indices) - len(remaining)
    with Progress(total=len(indices), initial=done, desc="evaluate", unit="image", hidden=not progress) as bar:
        for i in indices:
            key = str(truth.image_ids[i])
            if key in kept:
                predictions.append(from_entry(kept[key], truth.image_ids[i], detector.class_names, detector.class_ids))
                continue
            prediction = next(made)
            if prediction.error is not None and progress:
                Progress.write(f"{prediction.image_id}: {prediction.error}", file=sys.stderr)
            if store is not None:
                store.add(to_entry(prediction, key))
            predictions.append(prediction)
            bar.update()
    return predictions


def _read(truth: GroundTruth, index: int, folder: Path) -> Image:
    image = read_image(folder / truth.files[index])
    width, height = truth.image_sizes[index].tolist()
    if width > 0:
        check_size((image.width, image.height), (width, height))
    return image


def _failed(image_id: str | int, error: Exception) -> Prediction:
    return Prediction(image_id, None, error=" ".join(str(error).split()) or "not enough memory")


def _predict_singly(
    detector: ImageDetector, truth: GroundTruth, folder: Path, indices: Sequence[int], score: float
) -> Iterator[Prediction]:
    for index in indices:
        try:
            image = _read(truth, index, folder)
            started = time.perf_counter()
            detections = detector.detect(image, score)
            prediction = Prediction(truth.image_ids[index], detections, time.perf_counter() - started)
        except FAULTS as error:
            prediction = _failed(truth.image_ids[index], error)
        yield prediction


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
    from detector.inference.batching import Scored, in_batches
    from detector.inference.pipeline import DetectionPipeline

    if not isinstance(detector, DetectionPipeline):
        raise InputError("only a detector.inference.pipeline.DetectionPipeline supports traces and batches")
    names, same = detector.class_names, same_classes(truth.class_names, detector.class_names)
    # -1 for a class that the detector lacks.
    labels = np.array([names.index(same[name]) if name in same else -1 for name in truth.class_names], np.int64)
    rows_by_image = truth.rows_by_image()

    def finish(index: int, scored: Scored) -> Prediction:
        started = time.perf_counter()
        detections, traces = detector.suppress(scored.proposals, scored.scores, score), None
        if trace:
            rows = rows_by_image[index]
            traces = trace_objects(scored.proposals, scored.scores, truth.boxes[rows], labels[truth.labels[rows]])
        seconds = scored.seconds + time.perf_counter() - started
        return Prediction(truth.image_ids[index], detections, seconds, traces=traces)

    with closing(in_batches(detector, indices, lambda i: _read(truth, i, folder), finish, batch, workers)) as results:
        for index, result in zip(indices, results, strict=True):
            yield _failed(truth.image_ids[index], result) if isinstance(result, Exception) else result
