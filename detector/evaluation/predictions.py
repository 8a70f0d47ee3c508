"""What a detector gives for the images of a data set, before it is judged."""

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm import tqdm

from detector.data.class_names import same_classes
from detector.data.ground_truth import GroundTruth
from detector.detections import Detections
from detector.errors import InputError
from detector.evaluation.store import ResultStore
from detector.evaluation.table import DetectionTable
from detector.evaluation.traces import ObjectTraces
from detector.images import Image, read_image

if TYPE_CHECKING:
    from detector.pipeline import Detector

#: Lowest score asked of a detector for an evaluation. Average precision runs over the whole curve, and the
#: detections that matter to it end well above this.
LOWEST_SCORE = 0.001


class ImageDetector(Protocol):
    """What can be evaluated: `detector.pipeline.Detector` or anything of the same form."""

    @property
    def class_names(self) -> Sequence[str]: ...

    def detect(self, image: Image, score: float) -> Detections: ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """The detections of one image of a data set, or why there are none.

    Attributes:
        image_id: id of the image in the data set.
        detections: None if the image failed.
        seconds: wall-clock time from the decoded image to its detections; None if unknown.
        error: one line if the image failed, otherwise None.
        traces: what became of the image's objects, if that was asked for.
    """

    image_id: str | int
    detections: Detections | None
    seconds: float | None = None
    error: str | None = None
    traces: ObjectTraces | None = None


def known_classes(class_names: Sequence[str], known: Sequence[str], source: str) -> dict[str, str]:
    """Which of a source's known classes each class of a data set is; those that it does not know are left out.

    Raises:
        InputError: it knows none of them.
    """
    same = same_classes(class_names, known)
    if not same:
        raise InputError(
            f"{source} knows none of the data set's classes ({', '.join(class_names)}), but {', '.join(known)}"
        )
    return same


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
        trace: also find out what became of every object; needs a `detector.pipeline.Detector`.
        store: results are written to it as they come, and images whose results it holds are not run again.
        share: (i, n): take only every n-th image, from the i-th on.
        progress: write each failed image to standard error, and a progress bar if that is a terminal.
        batch: how many images the networks see at once; more than one needs a `detector.pipeline.Detector`.
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
                predictions.append(from_entry(kept[key], truth.image_ids[i], detector.class_names))
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
    from detector.pipeline import Detector

    if not isinstance(detector, Detector):
        raise InputError(f"only a detector.pipeline.Detector {can}")
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
    from detector.batches import Scored, in_batches  # imports torch, as its detector has done already
    from detector.evaluation.tracing import trace_objects

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


def check_size(size: tuple[int, int], annotated: tuple[int, int]) -> None:
    """Refuse an image whose size is not the annotated one, for its boxes would lie elsewhere.

    Raises:
        InputError: the sizes (width, height) differ.
    """
    if size != annotated:
        raise InputError(
            f"the image is {size[0]}x{size[1]} pixels, but its annotation says {annotated[0]}x{annotated[1]}"
        )


def detection_table(truth: GroundTruth, predictions: Sequence[Prediction]) -> DetectionTable:
    """The detections of all images, their classes brought to the data set's names; images that failed have none.

    Raises:
        InputError: the predictions are not those of the data set's images, in its order.
    """
    if [prediction.image_id for prediction in predictions] != list(truth.image_ids):
        raise InputError(f"the predictions are not those of the {len(truth.image_ids)} images, in their order")
    nothing = Detections.from_dict([], truth.class_names, (1, 1))
    found = [nothing if prediction.detections is None else prediction.detections for prediction in predictions]
    return DetectionTable.from_detections(truth, found)


def failures(predictions: Sequence[Prediction]) -> dict[str, str]:
    """Image id and error of the images that failed."""
    return {str(p.image_id): p.error or "failed" for p in predictions if p.detections is None}


def mean_seconds(predictions: Sequence[Prediction]) -> float | None:
    """Mean time of an image; None if none is known."""
    seconds = [prediction.seconds for prediction in predictions if prediction.seconds is not None]
    return sum(seconds) / len(seconds) if seconds else None


def joined_traces(predictions: Sequence[Prediction], truth: GroundTruth) -> ObjectTraces | None:
    """The traces of all objects in the order of the data set; None if those of an image with objects are missing."""
    if all(prediction.traces is None for prediction in predictions):
        return None
    rows_of = dict(zip(truth.image_ids, truth.rows_by_image(), strict=True))
    names: dict[str, int] = {}
    overlaps, sources, scores = np.zeros(len(truth)), np.full(len(truth), -1), np.zeros(len(truth))
    for prediction in predictions:
        rows, traces = rows_of[prediction.image_id], prediction.traces
        if prediction.detections is None:  # failed: nothing was proposed
            continue
        if traces is None or len(traces) != len(rows):
            if len(rows):
                return None
            continue
        numbers = np.array([names.setdefault(name, len(names)) for name in traces.source_names] + [-1])
        overlaps[rows], scores[rows] = traces.proposal_overlaps, traces.region_scores
        sources[rows] = numbers[traces.sources]
    return ObjectTraces(proposal_overlaps=overlaps, sources=sources, source_names=tuple(names), region_scores=scores)


def to_entry(prediction: Prediction, file: str) -> dict[str, Any]:
    """A prediction as plain values for JSON."""
    if prediction.detections is None:
        return {"image": file, "error": prediction.error or "failed"}
    width, height = prediction.detections.image_size
    entry: dict[str, Any] = {"image": file, "width": width, "height": height, "seconds": prediction.seconds,
                             "detections": prediction.detections.to_dict()}  # fmt: skip
    if prediction.traces is not None:
        traces = prediction.traces
        entry["objects"] = {
            "proposal_overlaps": traces.proposal_overlaps.tolist(),
            "sources": [traces.source_names[s] if s >= 0 else None for s in traces.sources.tolist()],
            "region_scores": traces.region_scores.tolist(),
        }
    return entry


def from_entry(entry: Mapping[str, Any], image_id: str | int, class_names: Sequence[str]) -> Prediction:
    """The prediction that `to_entry` made an entry of."""
    if "error" in entry:
        return Prediction(image_id, None, error=entry["error"])
    size = (entry["width"], entry["height"])
    detections = Detections.from_dict(entry["detections"], tuple(class_names), size)
    objects = entry.get("objects")
    traces = None if objects is None else object_traces(**objects)
    return Prediction(image_id, detections, entry["seconds"], traces=traces)


def object_traces(
    proposal_overlaps: Sequence[float], sources: Sequence[str | None], region_scores: Sequence[float]
) -> ObjectTraces:
    """Traces from the plain values of an entry's `objects`.

    Raises:
        InputError: the lists have different lengths.
    """
    names = tuple(dict.fromkeys(name for name in sources if name is not None))
    return ObjectTraces(
        proposal_overlaps=np.array(proposal_overlaps, np.float64),
        sources=np.array([-1 if name is None else names.index(name) for name in sources], np.int64),
        source_names=names,
        region_scores=np.array(region_scores, np.float64),
    )
