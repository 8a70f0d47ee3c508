"""The detections of one image."""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import numpy as np
from PIL import Image as PillowImage

from detector.errors import InputError
from detector.structures.class_names import WORDNET_ID, class_indices, default_class_ids
from detector.structures.image import ImageReference
from detector.visualization.boxes import Mark, box_colors, draw_marks
from detector.visualization.files import save_picture
from proposals.extras import needs_extra
from proposals.names import as_names
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
        class_id: index of the class among the detector's, from 0.
        category_id: id of the class in the data set (`Detections` explains the numbers).
        score: in 0..1.
        box: (x1, y1, x2, y2) in pixels of the upright image, right and bottom exclusive.
        track_id: of the object, in all frames of a video; None without tracking and before a track is certain.
    """

    label: str
    class_id: int
    category_id: int | str
    score: float
    box: tuple[float, float, float, float]
    track_id: int | None = None


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects detected in one image. Immutable: the arrays are copied and made read-only.

    A detector returns them best first; any other order is kept as it is. They are equal if all attributes below are.

    A class has two numbers. Its index among `class_names` counts from 0: `labels`, which supervision calls
    `class_id`. Its category id is the number in the data set: it starts at 1 or leaves gaps (COCO: 1 to 90 for 80
    classes), or is a text. Files of results use category ids, arrays use indices; `class_ids[label]` is a category id.

    A result of `detector.api.Detector` also remembers where its picture is (the path, or the array that was given; the
    frame of a stream until the next one), so that `draw`, `save`, `show` and `plot` need no image. Equality and pickle
    leave that out.

    Attributes:
        boxes: (N, 4) float32, (x1, y1, x2, y2) in pixels of the upright image and inside it, right and bottom
            exclusive.
        scores: (N,) float32 in 0..1.
        labels: (N,) int64, indices into `class_names`.
        image_size: (width, height) of the upright image in pixels.
        class_ids: the category id of each class, all different. By default COCO's if every class is one of COCO's,
            otherwise 1, 2, 3, ...
        track_ids: (N,) int64, the track of each object in a video, -1 for none yet; None without tracking.

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
    >>> detections
    <Detections: dog 0.88, cat 0.50 in 320x240 pixels>
    >>> detections[0]
    Detection(label='dog', class_id=1, category_id=18, score=0.875, box=(10.0, 20.0, 110.0, 220.0), track_id=None)
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
    track_ids: np.ndarray | None = None

    # No field, so that equality, pickle and copies leave it out; `with_picture` sets it.
    _picture: ClassVar[ImageReference | None] = None

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
            ("track_ids", None if self.track_ids is None else _read_only(self.track_ids, np.int64, (0,))),
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
        if self.track_ids is not None and self.track_ids.shape != labels.shape:
            raise InputError(f"track_ids have shape {self.track_ids.shape}; give ({len(labels)},), one for each box")
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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        names = [field.name for field in fields(self)]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        objects = [f"{detection.label} {detection.score:.2f}" for detection in self[:5]]
        more = [f"{len(self) - 5} more"] if len(self) > 5 else []
        listed = ", ".join(objects + more) or "nothing"
        return f"<Detections: {listed} in {'{}x{}'.format(*self.image_size)} pixels>"

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, item: int) -> Detection: ...
    @overload
    def __getitem__(self, item: slice | np.ndarray | Sequence[int] | Sequence[bool]) -> Self: ...
    def __getitem__(self, item: int | slice | np.ndarray | Sequence[int] | Sequence[bool]) -> Detection | Self:
        """One detection by index, or several by a slice, a mask, or indices in any order."""
        if isinstance(item, int | np.integer):
            label, (x1, y1, x2, y2) = int(self.labels[item]), self.boxes[item].tolist()
            track = -1 if self.track_ids is None else int(self.track_ids[item])
            score, category_id = float(self.scores[item]), self.class_ids[label]
            name, track_id = self.class_names[label], track if track >= 0 else None
            return Detection(name, label, category_id, score, (x1, y1, x2, y2), track_id)
        if not isinstance(item, slice):
            item = np.asarray(item) if len(item) else np.zeros(0, np.int64)
        return self._with(
            boxes=self.boxes[item],
            scores=self.scores[item],
            labels=self.labels[item],
            track_ids=None if self.track_ids is None else self.track_ids[item],
        )

    def _with(self, **changes: Any) -> Self:
        changed = replace(self, **changes)
        object.__setattr__(changed, "_picture", self._picture)
        return changed

    @property
    def class_id(self) -> np.ndarray:
        """(N,) int64: `labels` under the name that supervision gives them, counted from 0."""
        return self.labels

    @property
    def name(self) -> str:
        """The path of the picture, "clip.mp4#12" for a frame, or what else names it; "" if there is no picture."""
        return "" if self._picture is None else self._picture.name

    def with_picture(self, picture: ImageReference) -> Self:
        """The same detections, which remember their picture."""
        changed = self._with()
        object.__setattr__(changed, "_picture", picture)
        return changed

    @classmethod
    def empty(
        cls, class_names: Sequence[str], image_size: tuple[int, int], class_ids: Sequence[int | str] = ()
    ) -> Self:
        """No detections in an image of (width, height) pixels.

        >>> Detections.empty(("cat", "dog"), (320, 240))
        <Detections: nothing in 320x240 pixels>
        """
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), as_names(class_names), image_size,
                   tuple(class_ids))  # fmt: skip

    @classmethod
    def merge(cls, parts: Iterable["Detections"]) -> Self:
        """The detections of several results for one image, best first. Nothing is suppressed.

        Raises:
            InputError: there are no parts, or they are for other classes or for images of other sizes.
        """
        parts = list(parts)
        if not parts:
            raise InputError("merge needs at least one result; Detections.empty makes one without objects")
        first = parts[0]
        for part in parts:
            for field in ("class_names", "class_ids", "image_size"):
                if getattr(part, field) != getattr(first, field):
                    values = f"{getattr(first, field)} and {getattr(part, field)}"
                    raise InputError(f"merge needs results of one image and detector; {field} is {values}")
        columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("boxes", "scores", "labels")}
        tracks = [np.full(len(part), -1) if part.track_ids is None else part.track_ids for part in parts]
        tracked = any(part.track_ids is not None for part in parts)
        merged = cls(
            **columns,
            class_names=first.class_names,
            image_size=first.image_size,
            class_ids=first.class_ids,
            track_ids=np.concatenate(tracks) if tracked else None,
        )
        object.__setattr__(merged, "_picture", first._picture)
        return merged.top(len(merged))

    def top(self, count: int) -> Self:
        """The best `count` detections, best first."""
        return self[np.argsort(-self.scores, kind="stable")[:count]]

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

    def draw(self, image: object = None, channels: str | None = None) -> np.ndarray:
        """Draws the boxes and labels on a copy of the picture.

        Args:
            image: anything that `detector.structures.image.as_image` takes; by default the picture of the result.
            channels: order of a numpy array, "RGB" or "BGR".

        Returns:
            (H, W, 3) uint8, BGR if the picture is a BGR array, otherwise RGB.

        Raises:
            InputError: the picture is unknown, cannot be read, or has another size than the detections are for.
        """
        drawn, is_bgr = self._drawn(image, channels)
        return np.ascontiguousarray(drawn[:, :, ::-1]) if is_bgr else drawn

    def _drawn(self, image: object, channels: str | None) -> tuple[np.ndarray, bool]:
        """The drawing in RGB, and whether the picture is a BGR array."""
        picture = self._picture if image is None else ImageReference.of(image, channels)
        if picture is None:
            raise InputError("the result does not know its picture; give it: image=")
        photo = picture.read()
        if (photo.width, photo.height) != self.image_size:
            sizes = f"is {photo.width}x{photo.height} pixels, the detections are for {'{}x{}'.format(*self.image_size)}"
            raise InputError(f"{photo.name}: {sizes}")
        return draw_marks(photo.pixels, self.marks()), picture.is_bgr

    def save(self, path: str | Path, image: object = None, channels: str | None = None) -> Path:
        """Writes the drawing of `draw` as a JPEG or PNG file, and its folder if that is missing.

        Returns:
            The path.

        Raises:
            InputError: as `draw`, and if the name ends in something else or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            raise InputError(f"{path}: give a name that ends in .jpg or .png")
        drawn, _ = self._drawn(image, channels)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
        return save_picture(path, drawn)

    def show(self, image: object = None, channels: str | None = None) -> None:
        """Opens the drawing of `draw` in the system's viewer; in a notebook, `plot` shows it in place."""
        drawn, _ = self._drawn(image, channels)
        PillowImage.fromarray(drawn).show()

    def marks(self) -> list[Mark]:
        """Each box with its label and score, best first, for `detector.visualization.boxes.draw_marks`."""
        best = self.top(len(self))
        margin = (self.image_size[0] * self.image_size[1]) ** 0.5 / 30  # about the height of a label
        tracks = ["" if detection.track_id is None else f" #{detection.track_id}" for detection in best]
        return [
            Mark(detection.box, f"{detection.label}{track} {detection.score:.2f}", color)
            for detection, track, color in zip(best, tracks, box_colors(best.boxes, best.labels, margin), strict=True)
        ]

    def to_dict(self) -> list[dict[str, Any]]:
        """The detections as plain values for JSON; `from_dict` is the inverse. `track_id` is there for tracks only, and
        `synset`, the WordNet id, where category ids are such.

        >>> Detections([[0, 0, 9, 9]], [0.5], [0], ("cat", "dog"), (320, 240)).to_dict()
        [{'label': 'cat', 'category_id': 17, 'score': 0.5, 'box': [0.0, 0.0, 9.0, 9.0]}]
        """
        items = []
        for detection in self:
            item = {"label": detection.label, **_synset(detection), **vars(detection), "box": list(detection.box)}
            del item["class_id"]
            if detection.track_id is None:
                del item["track_id"]
            items.append(item)
        return items

    def to_entry(self, **details: Any) -> dict[str, Any]:
        """The result as an entry of this project's JSON: boxes to 0.01 pixel, scores to six digits.

        Args:
            details: further facts, such as `seconds`, that stand before the detections.
        """
        items = self.to_dict()
        for item in items:
            item["box"] = [round(value, 2) for value in item["box"]]
            item["score"] = round(item["score"], 6)
        width, height = self.image_size
        return {"image": self.name, "width": width, "height": height, **details, "detections": items}

    def to_json(self) -> str:
        """The result as a line of this project's JSON, as `detector detect --jsonl` writes it.

        >>> Detections([[0, 0, 9, 9]], [0.5], [0], ("cat",), (32, 24)).to_json()
        '{"image": "", "width": 32, "height": 24, "detections": [{"label": "cat", "category_id": 17, "score": 0.5, "box": [0.0, 0.0, 9.0, 9.0]}]}'
        """  # noqa: E501
        return json.dumps(self.to_entry())

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
            tracker_id=None if self.track_ids is None else self.track_ids.copy(),
            data={"class_name": np.array(self.class_names, str)[self.labels]},
        )

    @classmethod
    def from_supervision(
        cls,
        detections: "supervision.Detections",
        class_names: Sequence[str],
        image_size: tuple[int, int],
        class_ids: Sequence[int | str] = (),
    ) -> Self:
        """Detections of the library supervision; its `class_id` counts `class_names` from 0. The inverse of
        `to_supervision`. Boxes are clipped to the image; without confidences, all scores are 1.

        Args:
            image_size: (width, height) of the upright image in pixels, which supervision's detections lack.

        Raises:
            InputError: there are boxes without a class, or a box or class is bad.
        """
        boxes = np.asarray(detections.xyxy, np.float32).reshape(-1, 4)
        if detections.class_id is None and len(boxes):
            raise InputError("supervision's detections have no class_id; set it, from 0 for the first class")
        return cls(
            boxes=np.clip(boxes, 0, (*image_size, *image_size)),
            scores=np.ones(len(boxes)) if detections.confidence is None else detections.confidence,
            labels=np.zeros(0, np.int64) if detections.class_id is None else detections.class_id,
            class_names=as_names(class_names),
            image_size=image_size,
            class_ids=tuple(class_ids),
            track_ids=detections.tracker_id,
        )

    @classmethod
    def from_coco(
        cls,
        results: Iterable[Mapping[str, Any]],
        class_names: Sequence[str],
        image_size: tuple[int, int],
        class_ids: Sequence[int | str] = (),
    ) -> Self:
        """Detections from the entries of COCO's results format for one image, best first. The inverse of `to_coco`.
        Boxes are clipped to the image.

        Args:
            image_size: (width, height) of the upright image in pixels.
            class_ids: the `category_id` of each class, by default as in `Detections`.

        Raises:
            InputError: the entries are of several images, or a field or category is missing or bad.

        >>> results = [{"image_id": 139, "category_id": 18, "bbox": [10, 20, 20, 40], "score": 0.5}]
        >>> Detections.from_coco(results, ("cat", "dog"), (320, 240))
        <Detections: dog 0.50 in 320x240 pixels>
        """
        results, class_names = list(results), as_names(class_names)
        ids = tuple(class_ids) or default_class_ids(class_names)
        name_of = dict(zip(ids, class_names, strict=True))
        if len(images := {result.get("image_id") for result in results}) > 1:
            raise InputError(f"the results are of {len(images)} images; give those of one, by their image_id")
        items = []
        for index, result in enumerate(results):
            category = result.get("category_id")
            if category not in name_of:
                raise InputError(f"result {index}: category_id is {category!r}; the classes have {ids}")
            if not _are_numbers(result.get("bbox"), 4):
                raise InputError(f"result {index}: bbox is {result.get('bbox')!r}; give [x, y, width, height]")
            x, y, width, height = result["bbox"]
            box = np.clip([x, y, x + width, y + height], 0, (*image_size, *image_size)).tolist()
            items.append({"label": name_of[category], "score": result.get("score"), "box": box})
        return cls.from_dict(items, class_names, image_size, ids)

    def to_pandas(self) -> "pandas.DataFrame":
        """The detections as a table with the columns label, class_id, category_id, score, x1, y1, x2, y2, and track_id
        if they are tracked.

        Raises:
            InputError: pandas is not installed.
        """
        columns: dict[str, Any] = {
            "label": [self.class_names[label] for label in self.labels],
            "class_id": self.labels,
            "category_id": [self.class_ids[label] for label in self.labels],
            "score": self.scores,
        }
        columns |= {name: self.boxes[:, index] for index, name in enumerate(("x1", "y1", "x2", "y2"))}
        if self.track_ids is not None:
            columns["track_id"] = self.track_ids
        return _import("pandas", "to_pandas", "pandas").DataFrame(columns)

    def plot(self, image: object = None, channels: str | None = None, axes: "Axes | None" = None) -> "Axes":
        """Shows the drawing of `draw` in matplotlib's `axes` (new ones by default), which a notebook displays.

        Raises:
            InputError: as `draw`, and if matplotlib is not installed.
        """
        drawn, _ = self._drawn(image, channels)
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
        tracks = [item.get("track_id") for item in items]
        return cls(
            boxes=np.array([item["box"] for item in items], np.float32),
            scores=np.array([item["score"] for item in items], np.float32),
            labels=np.array(class_indices([item["label"] for item in items], class_names), np.int64),
            class_names=class_names,
            image_size=image_size,
            class_ids=tuple(class_ids),
            track_ids=None if all(t is None for t in tracks) else np.array([-1 if t is None else t for t in tracks]),
        )


def _synset(detection: Detection) -> dict[str, str]:
    """The WordNet id of the class, if that is its category id."""
    synset = str(detection.category_id)
    return {"synset": synset} if WORDNET_ID.fullmatch(synset) else {}


def check_score(score: float, name: str = "score") -> None:
    """Raises `InputError` unless the score, or another setting of this `name`, is a number in 0..1."""
    if not isinstance(score, Real) or not 0 <= score <= 1:  # NaN fails too
        raise InputError(f"{name} {score!r} is not a number in 0..1")


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
