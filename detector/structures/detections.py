"""The detections of one image."""

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from detector.errors import InputError
from detector.structures.class_names import default_class_ids
from detector.structures.image import as_image
from detector.visualization.boxes import Mark, class_color, draw_marks
from proposals.extras import needs_extra
from proposals.names import as_names, unknown_name
from proposals.types import reduce_by_fields

if TYPE_CHECKING:
    import pandas
    import supervision
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Detection:
    """One detected object.

    Attributes:
        label: class name.
        category_id: id of the class.
        score: in 0..1.
        box: (x1, y1, x2, y2) in pixels of the upright image, right and bottom exclusive.
    """

    label: str
    category_id: int | str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects detected in one image, best first. Immutable: the arrays are copied and made read-only.

    Attributes:
        boxes: (N, 4) float32, (x1, y1, x2, y2) in pixels of the upright image and inside it, right and bottom
            exclusive.
        scores: (N,) float32 in 0..1, descending.
        labels: (N,) int64, indices into `class_names`.
        image_size: (width, height) of the upright image in pixels.
        class_ids: the category id of each class, all different. By default COCO's if every class is one of COCO's,
            otherwise 1, 2, 3, ...

    Raises:
        InputError: names the first bad box, score or label.

    >>> detections = Detections(
    ...     boxes=[[10, 20, 110, 220], [0, 5, 50, 60]],
    ...     scores=[0.875, 0.5],
    ...     labels=[1, 0],
    ...     class_names=("cat", "dog"),
    ...     image_size=(320, 240),
    ... )
    >>> len(detections)
    2
    >>> detections[0]
    Detection(label='dog', category_id=18, score=0.875, box=(10.0, 20.0, 110.0, 220.0))
    >>> [detection.label for detection in detections]
    ['dog', 'cat']
    >>> detections[detections.scores > 0.6].boxes
    array([[ 10.,  20., 110., 220.]], dtype=float32)
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    class_ids: tuple[int | str, ...] = ()

    def __post_init__(self) -> None:
        names = as_names(self.class_names)
        if not names or len(set(names)) != len(names):
            raise InputError(f"class names must be given and all differ: {', '.join(names) or 'none given'}")
        ids = tuple(self.class_ids) or default_class_ids(names)
        if not len(set(ids)) == len(ids) == len(names):
            raise InputError(f"class ids must all differ, one for each of {len(names)} classes: {ids}")
        labels = np.asarray(self.labels)
        if labels.size and labels.dtype.kind not in "iu":
            raise InputError(f"labels are {labels.dtype}; give whole numbers, indices into the class names")
        for field, value in (
            ("boxes", _read_only(self.boxes, np.float32, (0, 4))),
            ("scores", _read_only(self.scores, np.float32, (0,))),
            ("labels", _read_only(labels, np.int64, (0,))),
            ("class_names", names),
            ("image_size", (int(self.image_size[0]), int(self.image_size[1]))),
            ("class_ids", ids),
        ):
            object.__setattr__(self, field, value)
        self._check()

    def _check(self) -> None:
        (width, height), boxes, scores, labels = self.image_size, self.boxes, self.scores, self.labels
        if width < 1 or height < 1:
            raise InputError(f"image size {width}x{height} is not positive")
        if (boxes.shape, scores.shape, labels.shape) != ((len(boxes), 4), (len(boxes),), (len(boxes),)):
            shapes = f"{boxes.shape}, {scores.shape}, {labels.shape}"
            raise InputError(f"boxes, scores, labels have shapes {shapes}; give (N, 4), (N,), (N,)")
        low, high = boxes[:, :2], boxes[:, 2:]
        # Comparisons are written so that NaN fails too.
        for field, values, good, fault in (
            ("box", boxes, np.isfinite(boxes).all(axis=1), "is not finite"),
            ("box", boxes, (high > low).all(axis=1), "has no positive area"),
            (
                *("box", boxes, (low >= 0).all(axis=1) & (high <= (width, height)).all(axis=1)),
                f"is not inside the image of {width}x{height} pixels",
            ),
            ("score", scores, (scores >= 0) & (scores <= 1), "is not in 0..1"),
            ("score", scores, np.append(True, scores[1:] <= scores[:-1]), "is above the one before; sort best first"),
            (
                *("label", labels, (labels >= 0) & (labels < len(self.class_names))),
                f"is not in 0..{len(self.class_names) - 1}",
            ),
        ):
            if not good.all():
                index = int(np.argmin(good))
                value = ", ".join(str(number) for number in values[index].ravel())
                raise InputError(f"{field} {index} ({value}) {fault}")

    __reduce__ = reduce_by_fields

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, item: int) -> Detection: ...
    @overload
    def __getitem__(self, item: slice | np.ndarray) -> Self: ...
    def __getitem__(self, item: int | slice | np.ndarray) -> Detection | Self:
        """One detection by index, or several by a slice, a mask or ascending indices."""
        if isinstance(item, int | np.integer):
            label = int(self.labels[item])
            x1, y1, x2, y2 = self.boxes[item].tolist()
            return Detection(self.class_names[label], self.class_ids[label], float(self.scores[item]), (x1, y1, x2, y2))
        arrays = self.boxes[item], self.scores[item], self.labels[item]
        return type(self)(*arrays, self.class_names, self.image_size, self.class_ids)

    def filter(
        self, score: float | Mapping[str, float] | None = None, classes: str | Iterable[str] | None = None
    ) -> Self:
        """Keeps detections of at least `score` and of the given classes.

        Args:
            score: lowest score, for all classes or by class name; classes that a mapping leaves out are kept whole.
            classes: one name or several; None for all.

        Raises:
            InputError: the detector has no such class, or a score is not a number in 0..1.

        >>> detections = Detections([[0, 0, 9, 9]], [0.5], [0], ("cat", "dog"), (320, 240))
        >>> len(detections.filter(score=0.6)), len(detections.filter(classes="cat"))
        (0, 1)
        >>> len(detections.filter(score={"cat": 0.4, "dog": 0.9}))
        1
        >>> detections.filter(classes=["lion"])
        Traceback (most recent call last):
        detector.errors.InputError: class 'lion' is unknown; known are cat, dog
        """
        keep = np.ones(len(self), bool)
        if isinstance(score, Mapping):
            for class_score in score.values():
                check_score(class_score)
            lowest = np.zeros(len(self.class_names), np.float32)
            lowest[class_indices(list(score), self.class_names)] = list(score.values())
            keep &= self.scores >= lowest[self.labels]
        elif score is not None:
            check_score(score)
            keep &= self.scores >= score
        if classes is not None:
            keep &= np.isin(self.labels, class_indices(as_names(classes), self.class_names))
        return self[keep]

    def draw(self, image: object, channels: str | None = None) -> np.ndarray:
        """Draws the boxes and labels on a copy of an image.

        Args:
            image: anything that `detector.structures.image.as_image` takes.
            channels: order of a numpy array, "RGB" or "BGR".

        Returns:
            (H, W, 3) uint8, BGR if `image` is a BGR array, otherwise RGB.

        Raises:
            InputError: the image has another size than the one that the detections are for.
        """
        photo = as_image(image, channels)
        if (photo.width, photo.height) != self.image_size:
            sizes = f"is {photo.width}x{photo.height} pixels, the detections are for {'{}x{}'.format(*self.image_size)}"
            raise InputError(f"{photo.name}: {sizes}")
        drawn = draw_marks(photo.pixels, self.marks())
        given_bgr = channels == "BGR" and isinstance(image, np.ndarray)
        return np.ascontiguousarray(drawn[:, :, ::-1]) if given_bgr else drawn

    def marks(self) -> list[Mark]:
        """Each box with its label and score, best first, for `detector.visualization.boxes.draw_marks`."""
        return [
            Mark(detection.box, f"{detection.label} {detection.score:.2f}", class_color(label + 1))
            for detection, label in zip(self, self.labels.tolist(), strict=True)
        ]

    def to_dict(self) -> list[dict[str, Any]]:
        """The detections as plain values for JSON, best first; `from_dict` is the inverse.

        >>> Detections([[0, 0, 9, 9]], [0.5], [0], ("cat", "dog"), (320, 240)).to_dict()
        [{'label': 'cat', 'category_id': 17, 'score': 0.5, 'box': [0.0, 0.0, 9.0, 9.0]}]
        """
        return [{**vars(detection), "box": list(detection.box)} for detection in self]

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """The detections in COCO's results format; concatenate the lists of several images.

        `bbox` is [x, y, width, height] rounded to 0.01 pixel; scores are rounded to five digits.

        >>> Detections([[10, 20, 30, 60]], [0.5], [1], ("cat", "dog"), (320, 240)).to_coco(139)
        [{'image_id': 139, 'category_id': 18, 'bbox': [10.0, 20.0, 20.0, 40.0], 'score': 0.5}]
        """
        results = []
        for detection in self:
            x1, y1, x2, y2 = detection.box
            bbox = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            score = round(detection.score, 5)
            results.append({"image_id": image_id, "category_id": detection.category_id, "bbox": bbox, "score": score})
        return results

    def to_supervision(self) -> "supervision.Detections":
        """The detections for the library supervision: 0-based `class_id`, class names in `data["class_name"]`.

        Raises:
            InputError: supervision is not installed.
        """
        return _import("supervision", "to_supervision", "supervision").Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.copy(),
            data={"class_name": np.array(self.class_names, str)[self.labels]},
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """The detections as a table with the columns label, category_id, score, x1, y1, x2, y2.

        Raises:
            InputError: pandas is not installed.
        """
        columns: dict[str, Any] = {
            "label": [self.class_names[label] for label in self.labels],
            "category_id": [self.class_ids[label] for label in self.labels],
            "score": self.scores,
        }
        columns |= {name: self.boxes[:, index] for index, name in enumerate(("x1", "y1", "x2", "y2"))}
        return _import("pandas", "to_pandas", "pandas").DataFrame(columns)

    def plot(self, image: object, channels: str | None = None, axes: "Axes | None" = None) -> "Axes":
        """Shows the drawing of `draw` in matplotlib's `axes` (new ones by default), which a notebook displays.

        Raises:
            InputError: the image has another size, or matplotlib is not installed.
        """
        drawn = self.draw(as_image(image, channels))
        if axes is None:
            pyplot = _import("matplotlib.pyplot", "plot", "report")
            height, width = drawn.shape[:2]
            _, axes = pyplot.subplots(figsize=(8, max(0.5, 8 * height / width)), layout="tight")
        axes.imshow(drawn)
        axes.set_axis_off()
        return axes

    @classmethod
    def from_dict(
        cls,
        items: Iterable[Mapping[str, Any]],
        class_names: Sequence[str],
        image_size: tuple[int, int],
        class_ids: Sequence[int | str] = (),
    ) -> Self:
        """Detections from the output of `to_dict`, in any order; `label` determines the class.

        Raises:
            InputError: a field is missing, a class is unknown or a box is bad.

        >>> items = [{"label": "dog", "score": 0.5, "box": [0, 0, 9, 9]}]
        >>> Detections.from_dict(items, ("cat", "dog"), (320, 240)).labels
        array([1])
        """
        items, class_names = list(items), as_names(class_names)
        for index, item in enumerate(items):
            for field in ("label", "score", "box"):
                if field not in item:
                    raise InputError(f"detection {index} has no field {field!r}")
            if not _are_numbers([item["score"]], 1):
                raise InputError(f"detection {index}: score is {item['score']!r}; give a number in 0..1")
            if not _are_numbers(item["box"], 4):
                raise InputError(f"detection {index}: box is {item['box']!r}; give [x1, y1, x2, y2]")
        items = sorted(items, key=lambda item: -item["score"])
        return cls(
            boxes=np.array([item["box"] for item in items], np.float32),
            scores=np.array([item["score"] for item in items], np.float32),
            labels=np.array(class_indices([item["label"] for item in items], class_names), np.int64),
            class_names=class_names,
            image_size=image_size,
            class_ids=tuple(class_ids),
        )


def class_indices(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """The index of each name in `class_names`.

    Raises:
        InputError: a name is not among them.
    """
    indices = {name: index for index, name in enumerate(class_names)}
    for name in names:
        if name not in indices:
            raise InputError(unknown_name("class", name, class_names))
    return [indices[name] for name in names]


def check_score(score: float) -> None:
    """Raises `InputError` unless the score is a number in 0..1."""
    if not isinstance(score, Real) or not 0 <= score <= 1:  # NaN fails too
        raise InputError(f"score {score!r} is not a number in 0..1")


def _import(module: str, feature: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:  # an import inside the library failed
            raise
        raise InputError(needs_extra(feature, extra)) from None


def _are_numbers(values: Any, count: int) -> bool:
    is_list = isinstance(values, Sequence | np.ndarray) and len(values) == count
    return is_list and all(isinstance(value, int | float | np.number) for value in values)


def _read_only(values: Any, dtype: type, empty_shape: tuple[int, ...]) -> np.ndarray:
    array: np.ndarray = np.array(values, dtype, order="C")
    if array.shape == (0,):  # an empty list of boxes has no second axis
        array = array.reshape(empty_shape)
    array.flags.writeable = False
    return array
