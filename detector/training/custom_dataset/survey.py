"""What a user's data holds, for the eye."""

from dataclasses import dataclass

import numpy as np

from detector.data.custom_dataset import CustomDataset, Layout
from detector.data.faults import Fault

_SHOWN_FAULTS = 20
_NAMES: dict[Layout, str] = {"voc": "VOC's XML", "coco": "COCO's JSON", "yolo": "YOLO's text files"}


@dataclass(frozen=True)
class Survey:
    """Numbers of a data set; `str` is a table.

    Attributes:
        photos, empty: all photos, and those without objects.
        boxes, photos_with: of each class its objects, difficult ones not counted, and the photos that show it.
        difficult: objects that are neither learned nor judged (VOC's difficult, COCO's crowds).
        photo_sizes: (width, height) of the smallest, the median and the largest photo, by pixels.
        box_sides: square roots of the boxes' area in parts of that of the photo: least, median, most.
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
        total = sum(self.boxes.values())
        unused = f", {self.difficult} more are marked difficult or a crowd and not used" if self.difficult else ""
        lines = [
            f"data         {self.name}: {_NAMES[self.layout]}",
            f"photos       {self.photos}, {self.empty} of them without objects",
            f"sizes        {sizes[0]} to {sizes[2]} pixels, the median {sizes[1]}",
            f"boxes        {total}{unused}",
            f"box sizes    {sides[0]} to {sides[2]} % of the photo's side, the median {sides[1]} %",
        ]
        width = max(len(name) for name in self.boxes)
        lines += [
            f"  {name:{width}}  {count:6d} boxes in {self.photos_with[name]} photos"
            for name, count in self.boxes.items()
        ]
        lines += [f"note         {note}" for note in self.notes]
        if self.faults:
            lines.append(f"left out     {len(self.faults)} photos")
            lines += [f"  {fault}" for fault in self.faults[:_SHOWN_FAULTS]]
            if len(self.faults) > _SHOWN_FAULTS:
                lines.append(f"  ... and {len(self.faults) - _SHOWN_FAULTS} more")
        return "\n".join(lines)


def survey_data(data: CustomDataset) -> Survey:
    """Counts what there is."""
    all_objects = [sample.annotations for sample in data.samples]
    labels = [one.labels[~one.difficult] for one in all_objects]
    count = len(data.class_names)
    boxes = np.sum([np.bincount(one, minlength=count) for one in labels], axis=0)
    photos_with = np.sum([np.bincount(one, minlength=count) > 0 for one in labels], axis=0)
    sizes = sorted((one.image_size for one in all_objects), key=lambda size: size[0] * size[1])
    sides = np.concatenate(
        [((o.boxes[:, 2:] - o.boxes[:, :2]).prod(axis=1) / np.prod(o.image_size)) ** 0.5 for o in all_objects]
    )
    least, median, most = np.percentile(sides, (0, 50, 100)).tolist()
    return Survey(
        name=str(data.path),
        layout=data.layout,
        photos=len(data.samples),
        empty=sum(not len(one) for one in all_objects),
        boxes=dict(zip(data.class_names, boxes.tolist(), strict=True)),
        photos_with=dict(zip(data.class_names, photos_with.tolist(), strict=True)),
        difficult=int(sum(one.difficult.sum() for one in all_objects)),
        photo_sizes=(sizes[0], sizes[len(sizes) // 2], sizes[-1]),
        box_sides=(least, median, most),
        faults=data.faults,
        notes=data.notes,
    )
