"""Pairs of images and classes that an evaluation leaves out because their annotations are wrong or missing."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.ground_truth import column


@dataclass(frozen=True, eq=False)
class Blacklist:
    """Pairs of an image and a class to leave out of an evaluation.

    Attributes:
        images, labels: (B,) int64, indices into the ground truth's `image_ids` and `class_names`.
    """

    images: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            object.__setattr__(self, name, column(name, getattr(self, name), np.int64, (len(self.images),)))
