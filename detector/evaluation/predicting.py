"""A detector run over the images of a data set, before it is judged."""

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm import tqdm

from detector.data.ground_truth import GroundTruth
from detector.data.predictions import LOWEST_SCORE, Prediction, check_size, from_entry, known_classes, to_entry
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.storage.run_store import ResultStore
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
    from detector.evaluation.tracing import detect_traced  # imports torch, as its detector has done already

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
    from detector.evaluation.tracing import trace_objects
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
