"""A summary of a custom data set, printed before the training."""

from dataclasses import dataclass

import numpy as np

from detector.data.custom_dataset import CustomDataset
from detector.data.faults import Fault
from detector.data.layouts import Layout

_MAX_FAULTS = 20
_LAYOUT_NAMES: dict[Layout, str] = {"voc": "VOC's XML", "coco": "COCO's JSON", "yolo": "YOLO's text files"}


@dataclass(frozen=True)
class DatasetSummary:
    """Counts and sizes of a data set; `str` makes a table.

    Attributes:
        photos, empty: number of all photos, and of those without objects.
        boxes: number of objects of each class, without difficult ones.
        photos_with: number of photos with an object of each class.
        difficult: number of objects that are neither trained on nor evaluated (VOC's difficult, COCO's crowds).
        photo_sizes: (width, height) of the smallest, the median and the largest photo, by number of pixels.
        box_sides: square roots of the boxes' areas as fractions of the photo's area: minimum, median, maximum.
    """

    name: str
    layout: Layout
    photos: int
    empty: int
    boxes: dict[str, int]
    photos_with: dict[str, int]
    difficult: int
    photo_sizes: tuple[tuple[int, int], ...]
    box_sides: tuple[float, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        sizes = [f"{width}x{height}" for width, height in self.photo_sizes]
        sides = [f"{100 * side:.0f}" for side in self.box_sides]
        unused = f", and {self.difficult} unused ones marked difficult or crowd" if self.difficult else ""
        width = max(len(name) for name in self.boxes)
        lines = [
            f"data         {self.name}: {_LAYOUT_NAMES[self.layout]}",
            f"photos       {self.photos}, {self.empty} of them without objects",
            f"sizes        {sizes[0]} to {sizes[2]} pixels, median {sizes[1]}",
            f"boxes        {sum(self.boxes.values())}{unused}",
            f"box sizes    {sides[0]} to {sides[2]} % of the photo's side, median {sides[1]} %",
            *(f"  {name:{width}}  {n:6d} boxes in {self.photos_with[name]} photos" for name, n in self.boxes.items()),
            *(f"note         {note}" for note in self.notes),
        ]
        if self.faults:
            lines.append(f"left out     {len(self.faults)} photos")
            lines += [f"  {fault}" for fault in self.faults[:_MAX_FAULTS]]
            if len(self.faults) > _MAX_FAULTS:
                lines.append(f"  ... and {len(self.faults) - _MAX_FAULTS} more")
        return "\n".join(lines)


def summarize(data: CustomDataset) -> DatasetSummary:
    """Counts the photos and objects of a data set."""
    annotations = [sample.annotations for sample in data.samples]
    counts = np.array([np.bincount(a.labels[~a.difficult], minlength=len(data.class_names)) for a in annotations])
    sizes = sorted((a.image_size for a in annotations), key=lambda size: size[0] * size[1])
    sides = np.concatenate(
        [((a.boxes[:, 2:] - a.boxes[:, :2]).prod(axis=1) / np.prod(a.image_size)) ** 0.5 for a in annotations]
    )
    return DatasetSummary(
        name=str(data.path),
        layout=data.layout,
        photos=len(data.samples),
        empty=sum(not len(a) for a in annotations),
        boxes=dict(zip(data.class_names, counts.sum(axis=0).tolist(), strict=True)),
        photos_with=dict(zip(data.class_names, (counts > 0).sum(axis=0).tolist(), strict=True)),
        difficult=int(sum(a.difficult.sum() for a in annotations)),
        photo_sizes=(sizes[0], sizes[len(sizes) // 2], sizes[-1]),
        box_sides=tuple(np.percentile(sides, (0, 50, 100)).tolist()),
        faults=data.faults,
        notes=data.notes,
    )
