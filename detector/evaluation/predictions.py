"""What a detector gives for the images of a data set, before it is judged."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tqdm import tqdm

from detector.data.voc import VOCDataset
from detector.detections import Detections
from detector.errors import InputError
from detector.images import Image, read_image

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
    """

    image_id: str
    detections: Detections | None
    seconds: float | None = None
    error: str | None = None


def check_classes(known: Sequence[str], dataset: VOCDataset, source: str) -> None:
    """Refuse class names that do not fit together, which would show only as a low result.

    Raises:
        InputError: the data set has a class that is not known, or the other way round, unless the data set
            ignores other classes.
    """
    missing = [name for name in dataset.class_names if name not in known]
    if missing:
        raise InputError(f"{source} has no class {_listed(missing)}; it has {', '.join(known)}")
    other = [name for name in known if name not in dataset.class_names]
    if other and not dataset.ignore_other_classes:
        names = ", ".join(dataset.class_names)
        raise InputError(f"{source} has class {_listed(other)}, the data set has {names}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def predict(
    detector: ImageDetector, dataset: VOCDataset, *, score: float = LOWEST_SCORE, progress: bool = False
) -> list[Prediction]:
    """Run a detector over a data set, image by image.

    An image that cannot be read or judged becomes a prediction with an `error`, and the rest goes on. Wrong
    annotations do not: they raise, before the first image is read.

    Args:
        detector: what detects.
        dataset: the images.
        score: lowest score of the detections that are kept, 0 to 1.
        progress: write each failed image to standard error, and a progress bar if that is a terminal.

    Raises:
        InputError: the classes of detector and data set differ, or an annotation is wrong.
    """
    check_classes(detector.class_names, dataset, "the detector")
    sizes = [dataset.annotations(index).image_size for index in range(len(dataset))]
    predictions = []
    for index in tqdm(range(len(dataset)), desc="evaluate", unit="image", disable=None if progress else True):
        prediction = _predict_one(detector, dataset, index, sizes[index], score)
        if prediction.error is not None and progress:
            tqdm.write(f"{prediction.image_id}: {prediction.error}", file=sys.stderr)
        predictions.append(prediction)
    return predictions


def _predict_one(
    detector: ImageDetector, dataset: VOCDataset, index: int, size: tuple[int, int], score: float
) -> Prediction:
    image_id = dataset.ids[index]
    try:
        image = read_image(dataset.image_path(index))
        check_size((image.width, image.height), size)
        started = time.perf_counter()
        detections = detector.detect(image, score)
        return Prediction(image_id, detections, time.perf_counter() - started)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:  # torch: no memory is a RuntimeError
        return Prediction(image_id, None, error=" ".join(str(error).split()) or "not enough memory")


def check_size(size: tuple[int, int], annotated: tuple[int, int]) -> None:
    """Refuse an image whose size is not the annotated one, for its boxes would lie elsewhere.

    Raises:
        InputError: the sizes (width, height) differ.
    """
    if size != annotated:
        raise InputError(
            f"the image is {size[0]}x{size[1]} pixels, but its annotation says {annotated[0]}x{annotated[1]}"
        )
