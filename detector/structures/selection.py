"""Which of the found objects are wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Self

from detector.errors import InputError
from detector.structures.detections import Detections, class_indices
from proposals.names import as_names


@dataclass(frozen=True)
class Selection:
    """Objects of at least a score, of some classes, and the best of them.

    Attributes:
        score: lowest score of classes that are not in `class_scores`.
        class_scores: lowest score by the name of the class.
        classes: names of the classes wanted; None for all.
        max_detections: most objects an image; None for all.

    Raises `InputError` for a score that is no number from 0 to 1.
    """

    score: float = 0.5
    class_scores: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    max_detections: int | None = None

    def __post_init__(self) -> None:
        for score in (self.score, *self.class_scores.values()):
            if not isinstance(score, Real) or not 0 <= score <= 1:  # written so that NaN fails too
                raise InputError(f"--score {score}: is outside 0 to 1")
        if self.classes is not None:
            object.__setattr__(self, "classes", as_names(self.classes))

    @classmethod
    def parse(cls, scores: Sequence[str], classes: tuple[str, ...] | None, max_detections: int | None) -> Self:
        """From the texts of `--score`: "0.5" for all classes, "cat=0.7" for one.

        >>> Selection.parse(["0.4", "cat=0.7"], None, None)
        Selection(score=0.4, class_scores={'cat': 0.7}, classes=None, max_detections=None)
        """
        general, of_class = cls.score, dict[str, float]()
        for text in scores:
            name, _, number = text.rpartition("=")
            try:
                value = float(number)
            except ValueError:
                raise InputError(f"--score {text}: is no score; give such as 0.5, or cat=0.7 for a class") from None
            if name:
                of_class[name.strip()] = value
            else:
                general = value
        return cls(general, of_class, classes, max_detections)

    @property
    def lowest_score(self) -> float:
        """No object of less is wanted."""
        return min(self.score, *self.class_scores.values()) if self.class_scores else self.score

    def check(self, class_names: Sequence[str] | None) -> None:
        """Raises `InputError` for a class that the detector does not know; None: they are not known yet."""
        if class_names is not None:
            class_indices([*(self.classes or ()), *self.class_scores], class_names)

    def __call__(self, found: Detections) -> Detections:
        """Those of the found objects that are wanted, best first."""
        scores = {name: self.class_scores.get(name, self.score) for name in found.class_names}
        return found.filter(score=scores, classes=self.classes)[: self.max_detections]
