"""Regions of interest of a batch of images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RoIs:
    """Regions to classify.

    Attributes:
        boxes: (R, 4) float32 xyxy in pixels of the network's input image.
        image_index: (R,) int64, index of each region's image in the batch.

    Raises:
        ValueError: the shapes differ from these.
    """

    boxes: Tensor
    image_index: Tensor

    def __post_init__(self) -> None:
        shapes = tuple(self.boxes.shape), tuple(self.image_index.shape)
        count = self.boxes.shape[0]  # not len(), which torch.export would take for a constant
        if shapes != ((count, 4), (count,)):
            raise ValueError(f"RoIs need boxes (R, 4) and image_index (R,), not {shapes[0]} and {shapes[1]}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, selection: Tensor | slice) -> "RoIs":
        return RoIs(self.boxes[selection], self.image_index[selection])

    @classmethod
    def of_images(cls, boxes: Sequence[Tensor], indices: Iterable[int] | None = None) -> "RoIs":
        """Concatenates the boxes of several images.

        Args:
            boxes: (R_i, 4) for each image.
            indices: of the images in the batch; None for 0, 1, 2, ...
        """
        indices = range(len(boxes)) if indices is None else indices
        # Filled on the device: copying a list to a GPU would synchronize with it.
        image_index = [
            torch.full((len(of_image),), index, dtype=torch.int64, device=of_image.device)
            for of_image, index in zip(boxes, indices, strict=True)
        ]
        return cls(torch.cat(list(boxes)), torch.cat(image_index))
