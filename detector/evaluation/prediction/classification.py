"""Top-1 and top-5 accuracy of a classifier on labeled photos."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.data.image_folder import LabeledPhoto
from detector.errors import InputError
from detector.inference.classification import Classifier
from detector.io.progress import Progress


@dataclass
class ClassificationResult:
    """Hits on a set of photos.

    Attributes:
        images: number of photos; top1, top5: those whose class was the best, or among the best five.
        failed: path and error of those that could not be read; they count as misses.
    """

    images: int = 0
    top1: int = 0
    top5: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def seconds_per_image(self) -> float:
        """Mean over the images that were classified."""
        return self.seconds / max(1, self.images - len(self.failed))

    def to_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "top1": self.top1 / self.images,
            "top5": self.top5 / self.images,
            "top1_hits": self.top1,
            "top5_hits": self.top5,
            "seconds_per_image": self.seconds_per_image,
            "failed": self.failed,
        }

    def table(self) -> str:
        """The result as text."""
        hits = ((1, self.top1), (5, self.top5))
        parts = [f"top-{n} {count}/{self.images} ({count / self.images:.1%})" for n, count in hits]
        return ", ".join([*parts, f"{self.seconds_per_image:.3f} s per image"])


def evaluate_classifier(
    classifier: Classifier, photos: Sequence[LabeledPhoto], progress: bool = False
) -> ClassificationResult:
    """Classify photos and count hits; a photo that cannot be read is a miss."""
    result = ClassificationResult()
    for photo in Progress(photos, desc="classify", unit="image", hidden=not progress):
        result.images += 1
        start = time.perf_counter()
        try:
            classified = classifier(photo.path)
        except InputError as error:
            result.failed[str(photo.path)] = str(error)
            if progress:
                Progress.write(str(error), file=sys.stderr)
            continue
        result.seconds += time.perf_counter() - start
        best = np.argsort(-classified.probabilities, kind="stable")[:5]
        result.top1 += int(best[0] == photo.label)
        result.top5 += int(photo.label in best)
    return result
