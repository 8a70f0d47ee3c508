"""Filtering of detections by score, class and number, as commands offer it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Self

from detector.errors import InputError
from detector.structures.class_names import class_indices
from detector.structures.detections import Detections, check_score
from proposals.names import as_names


@dataclass(frozen=True)
class Selection:
    """The detections to keep.

    Attributes:
        score: lowest score of classes without one in `class_scores`.
        class_scores: lowest score by class name.
        classes: names of the classes to keep; None for all.
        max_detections: most detections per image; None for no limit.

    Raises:
        InputError: a score is not a number in 0..1, or `max_detections` is not a whole number of at least 1.
    """

    score: float = 0.5
    class_scores: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    max_detections: int | None = None

    def __post_init__(self) -> None:
        for score in (self.score, *self.class_scores.values()):
            check_score(score)
        most = self.max_detections
        if most is not None and (not isinstance(most, Integral) or most < 1):
            raise InputError(f"max_detections is {most!r}; give a whole number of at least 1")
        if self.classes is not None:
            object.__setattr__(self, "classes", as_names(self.classes))

    @classmethod
    def parse(cls, scores: Sequence[str], classes: tuple[str, ...] | None, max_detections: int | None) -> Self:
        """Parses the values of `--score`: "0.5" for all classes, "cat=0.7" for one.

        >>> Selection.parse(["0.4", "cat=0.7"], None, None)
        Selection(score=0.4, class_scores={'cat': 0.7}, classes=None, max_detections=None)
        """
        general, class_scores = cls.score, dict[str, float]()
        for text in scores:
            name, _, number = text.rpartition("=")
            try:
                value = float(number)
            except ValueError:
                raise InputError(f"--score {text}: not a score; give 0.5, or cat=0.7 for one class") from None
            check_score(value, "--score")
            if name:
                class_scores[name.strip()] = value
            else:
                general = value
        return cls(general, class_scores, classes, max_detections)

    @property
    def lowest_score(self) -> float:
        """The lowest score that a kept detection can have."""
        return min(self.score, *self.class_scores.values()) if self.class_scores else self.score

    def named(self, synonyms: Mapping[str, str]) -> Self:
        """The same selection with the names of the classes in place of other words for them.

        Args:
            synonyms: the name of a class by other words, in lower case.

        >>> Selection(classes=("Alsatian",)).named({"alsatian": "German shepherd"}).classes
        ('German shepherd',)
        """
        scores = {synonyms.get(name.casefold(), name): score for name, score in self.class_scores.items()}
        classes = None if self.classes is None else tuple(synonyms.get(str(n).casefold(), n) for n in self.classes)
        return replace(self, class_scores=scores, classes=classes)

    def check(self, class_names: Sequence[str] | None) -> None:
        """Raises `InputError` for a class that is not among `class_names`; None skips the check."""
        if class_names is not None:
            class_indices([*(self.classes or ()), *self.class_scores], class_names)

    def __call__(self, detections: Detections) -> Detections:
        """The detections to keep, best first."""
        scores = {name: self.class_scores.get(name, self.score) for name in detections.class_names}
        selected = detections.filter(score=scores, classes=self.classes)
        return selected.top(len(selected) if self.max_detections is None else self.max_detections)
