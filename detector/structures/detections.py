"""What the detector found in one image."""

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
    """One found object.

    `label` is the class name and `category_id` the id of the class; `score` is in 0..1; `box` is (x1, y1, x2, y2) in
    pixels of the upright image, right and bottom exclusive.
    """

    label: str
    category_id: int | str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in one image, best first. Immutable: the arrays are copied and made read-only.

    boxes: (N, 4) float32, (x1, y1, x2, y2) in pixels of the upright image and inside it; right and bottom are
        exclusive.
    scores: (N,) float32 in 0..1, descending.
    labels: (N,) int64, index into `class_names`.
    image_size: (width, height) of the upright image in pixels.
    class_ids: the category id of each class, all different. By default COCO's if all names are categories of COCO,
        otherwise 1, 2, 3, ...

    Raises `InputError`, which names the first bad box, score or label.

    >>> found = Detections(
    ...     boxes=[[10, 20, 110, 220], [0, 5, 50, 60]],
    ...     scores=[0.875, 0.5],
    ...     labels=[1, 0],
    ...     class_names=("cat", "dog"),
    ...     image_size=(320, 240),
    ... )
    >>> len(found)
    2
    >>> found[0]
    Detection(label='dog', category_id=18, score=0.875, box=(10.0, 20.0, 110.0, 220.0))
    >>> [detection.label for detection in found]
    ['dog', 'cat']
    >>> found[found.scores > 0.6].boxes
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
        width, height = self.image_size
        if width < 1 or height < 1:
            raise InputError(f"image size {width}x{height} is not positive")
        labels = np.asarray(self.labels)
        if labels.size and labels.dtype.kind not in "iu":
            raise InputError(f"labels are {labels.dtype}; give whole numbers, indices into the class names")
        for field, value in (
            ("boxes", _read_only(self.boxes, np.float32, (0, 4))),
            ("scores", _read_only(self.scores, np.float32, (0,))),
            ("labels", _read_only(labels, np.int64, (0,))),
            ("class_names", names),
            ("image_size", (int(width), int(height))),
            ("class_ids", ids),
        ):
            object.__setattr__(self, field, value)
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,) or self.labels.shape != (count,):
            shapes = f"{self.boxes.shape}, {self.scores.shape}, {self.labels.shape}"
            raise InputError(f"boxes, scores, labels have shapes {shapes}; give (N, 4), (N,), (N,)")
        self._check_boxes()
        self._check_scores_and_labels()

    def _check_boxes(self) -> None:
        width, height = self.image_size
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        finite = np.isfinite(self.boxes).all(axis=1)
        positive = (high > low).all(axis=1)
        inside = (low >= 0).all(axis=1) & (high <= (width, height)).all(axis=1)
        for good, fault in (
            (finite, "is not finite"),
            (positive, "has no positive area"),
            (inside, f"is not inside the image of {width}x{height} pixels"),
        ):
            if not good.all():
                index = int(np.argmin(good))
                box = ", ".join(str(value) for value in self.boxes[index].tolist())
                raise InputError(f"box {index} ({box}) {fault}")

    def _check_scores_and_labels(self) -> None:
        # Written so that NaN fails too.
        good = (self.scores >= 0) & (self.scores <= 1)
        if not good.all():
            index = int(np.argmin(good))
            raise InputError(f"score {index} ({self.scores[index]}) is not in 0..1")
        if (rising := np.diff(self.scores) > 0).any():
            index = int(np.argmax(rising)) + 1
            raise InputError(f"score {index} ({self.scores[index]}) is above the one before; sort best first")
        good = (self.labels >= 0) & (self.labels < len(self.class_names))
        if not good.all():
            index = int(np.argmin(good))
            raise InputError(f"label {index} ({self.labels[index]}) is not in 0..{len(self.class_names) - 1}")

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
        """One detection by its index, or those that a slice, a mask or ascending indices choose."""
        if isinstance(item, int | np.integer):
            label = int(self.labels[item])
            x1, y1, x2, y2 = self.boxes[item].tolist()
            name, class_id = self.class_names[label], self.class_ids[label]
            return Detection(name, class_id, float(self.scores[item]), (x1, y1, x2, y2))
        chosen = self.boxes[item], self.scores[item], self.labels[item]
        return type(self)(*chosen, self.class_names, self.image_size, self.class_ids)

    def filter(
        self, score: float | Mapping[str, float] | None = None, classes: str | Iterable[str] | None = None
    ) -> Self:
        """Those of at least `score` and of one of `classes` (a name, or several).

        score: one for all classes, or the scores of some by their names; of the others all are kept.

        Raises `InputError` for a class that the detector does not know, or a score that is none.

        >>> found = Detections([[0, 0, 9, 9]], [0.5], [0], ("cat", "dog"), (320, 240))
        >>> len(found.filter(score=0.6)), len(found.filter(classes="cat"))
        (0, 1)
        >>> len(found.filter(score={"cat": 0.4, "dog": 0.9}))
        1
        >>> found.filter(classes=["lion"])
        Traceback (most recent call last):
        detector.errors.InputError: class 'lion' is unknown; known are cat, dog
        """
        keep = np.ones(len(self), bool)
        if isinstance(score, Mapping):
            for one in score.values():
                check_score(one)
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
        """`image` (anything that `detector.structures.image.as_image` takes) with the boxes and labels drawn on it.

        Returns a new (H, W, 3) uint8 array, BGR if `channels` says so of an array, else RGB. Raises `InputError` if
        the image is of another size.
        """
        photo = as_image(image, channels)
        if (photo.width, photo.height) != self.image_size:
            own, other = f"{photo.width}x{photo.height}", "{}x{}".format(*self.image_size)
            raise InputError(f"{photo.name}: is {own} pixels, the detections are for {other}")
        drawn = draw_marks(photo.pixels, self.marks())
        given_bgr = channels == "BGR" and isinstance(image, np.ndarray)
        return np.ascontiguousarray(drawn[:, :, ::-1]) if given_bgr else drawn

    def marks(self) -> list[Mark]:
        """Each box with its label and score, best first, as `detector.visualization.boxes.draw_marks` takes them."""
        return [
            Mark(one.box, f"{one.label} {one.score:.2f}", class_color(label + 1))
            for one, label in zip(self, self.labels.tolist(), strict=True)
        ]

    def to_dict(self) -> list[dict[str, Any]]:
        """The detections as plain values for JSON, best first; `from_dict` is the inverse.

        >>> Detections([[0, 0, 9, 9]], [0.5], [0], ("cat", "dog"), (320, 240)).to_dict()
        [{'label': 'cat', 'category_id': 17, 'score': 0.5, 'box': [0.0, 0.0, 9.0, 9.0]}]
        """
        return [
            {"label": one.label, "category_id": one.category_id, "score": one.score, "box": list(one.box)}
            for one in self
        ]

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """The detections as COCO's results, `bbox` is [x, y, width, height] to 0.01 pixel, scores have five digits;
        lists of several images are joined.

        >>> Detections([[10, 20, 30, 60]], [0.5], [1], ("cat", "dog"), (320, 240)).to_coco(139)
        [{'image_id': 139, 'category_id': 18, 'bbox': [10.0, 20.0, 20.0, 40.0], 'score': 0.5}]
        """
        return [
            {
                "image_id": image_id,
                "category_id": one.category_id,
                "bbox": [
                    round(value, 2)
                    for value in (one.box[0], one.box[1], one.box[2] - one.box[0], one.box[3] - one.box[1])
                ],
                "score": round(one.score, 5),
            }
            for one in self
        ]

    def to_supervision(self) -> "supervision.Detections":
        """The detections for the library supervision, class names in `data["class_name"]`; `class_id` is from 0.

        Raises `InputError` if supervision is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise _missing(error, "supervision", "to_supervision", "supervision") from None
        names = np.array(self.class_names, str)[self.labels]
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.copy(),
            data={"class_name": names},
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """The detections as a table with the columns label, category_id, score, x1, y1, x2, y2.

        Raises `InputError` if pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise _missing(error, "pandas", "to_pandas", "pandas") from None
        columns: dict[str, Any] = {
            "label": [self.class_names[label] for label in self.labels],
            "category_id": [self.class_ids[label] for label in self.labels],
            "score": self.scores,
        }
        columns |= {name: self.boxes[:, index] for index, name in enumerate(("x1", "y1", "x2", "y2"))}
        return pandas.DataFrame(columns)

    def plot(self, image: object, channels: str | None = None, axes: "Axes | None" = None) -> "Axes":
        """What `draw` gives, shown in matplotlib's `axes` (by default new ones): a notebook displays it.

        Raises `InputError` if the image is of another size, or matplotlib is not installed.
        """
        drawn = self.draw(as_image(image, channels))
        if axes is None:
            try:
                from matplotlib import pyplot
            except ModuleNotFoundError as error:
                raise _missing(error, "matplotlib", "plot", "report") from None
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
        """Detections from what `to_dict` gave, in any order. The class goes by `label` alone.

        Raises `InputError` for a missing field, an unknown class or a bad box.

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


def _missing(error: ModuleNotFoundError, name: str, what: str, extra: str) -> Exception:
    """What to raise where a library that is no requirement is wanted; a fault inside it stays what it is."""
    return InputError(needs_extra(what, extra)) if error.name == name else error


def class_indices(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """The index of each name among `class_names`. Raises `InputError`, listing these, for an unknown name."""
    places = {name: index for index, name in enumerate(class_names)}
    for name in names:
        if name not in places:
            raise InputError(unknown_name("class", name, class_names))
    return [places[name] for name in names]


def check_score(score: float) -> None:
    """Raises `InputError` for a score that is none."""
    if not isinstance(score, Real) or not 0 <= score <= 1:  # written so that NaN fails too
        raise InputError(f"score {score!r} is not a number in 0..1")


def _are_numbers(values: Any, count: int) -> bool:
    is_list = isinstance(values, Sequence | np.ndarray) and len(values) == count
    return is_list and all(isinstance(value, int | float | np.number) for value in values)


def _read_only(values: Any, dtype: type, empty_shape: tuple[int, ...]) -> np.ndarray:
    array: np.ndarray = np.array(values, dtype, order="C")
    if array.shape == (0,):  # an empty list of boxes has no second axis
        array = array.reshape(empty_shape)
    array.flags.writeable = False
    return array
