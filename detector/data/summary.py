"""A summary of a custom data set, printed before the training."""

import numpy as np

from detector.data.custom_dataset import CustomDataset

_MAX_FAULTS = 20
_LAYOUT_NAMES = {
    "voc": "VOC's XML",
    "coco": "COCO's JSON",
    "yolo": "YOLO's text files",
    "folders": "a folder for each class",
    "csv": "image labels in a CSV file",
}


def summarize(data: CustomDataset) -> str:
    """A table of counts and sizes.

    Photo sizes are those of the smallest, the largest and the median photo by number of pixels. Box sizes are square
    roots of the boxes' areas as fractions of the photo's area. Difficult objects (VOC's difficult, COCO's crowds) are
    counted apart.
    """
    annotations = [sample.annotations for sample in data.samples]
    counts = np.array([np.bincount(a.labels[~a.difficult], minlength=len(data.class_names)) for a in annotations])
    difficult = sum(int(a.difficult.sum()) for a in annotations)
    sizes = sorted((a.image_size for a in annotations), key=lambda size: size[0] * size[1])
    smallest, median, largest = (f"{size[0]}x{size[1]}" for size in (sizes[0], sizes[len(sizes) // 2], sizes[-1]))
    sides = np.concatenate(
        [((a.boxes[:, 2:] - a.boxes[:, :2]).prod(axis=1) / np.prod(a.image_size)) ** 0.5 for a in annotations]
    )
    low, middle, high = (f"{100 * side:.0f}" for side in np.percentile(sides, (0, 50, 100)))
    unused = f", and {difficult} unused ones marked difficult or crowd" if difficult else ""
    totals = counts.sum(axis=0).tolist(), (counts > 0).sum(axis=0).tolist()
    width = max(len(name) for name in data.class_names)
    boxes = [
        f"boxes        {counts.sum()}{unused}",
        f"box sizes    {low} to {high} % of the photo's side, median {middle} %",
    ]
    lines = [
        f"data         {data.path}: {_LAYOUT_NAMES[data.layout]}",
        f"photos       {len(annotations)}, {sum(not len(a) for a in annotations)} of them without objects",
        f"sizes        {smallest} to {largest} pixels, median {median}",
        *([] if data.image_labels else boxes),
        *(
            f"  {name:{width}}  "
            + ("" if data.image_labels else f"{count:6d} box{'es' * (count != 1)} in ")
            + f"{photos} photo{'s' * (photos != 1)}"
            for name, count, photos in zip(data.class_names, *totals, strict=True)
        ),
        *(f"note         {note}" for note in data.notes),
    ]
    if data.faults:
        lines.append(f"left out     {len(data.faults)} photo{'s' * (len(data.faults) != 1)}")
        lines += [f"  {fault}" for fault in data.faults[:_MAX_FAULTS]]
    if len(data.faults) > _MAX_FAULTS:
        lines.append(f"  ... and {len(data.faults) - _MAX_FAULTS} more")
    return "\n".join(lines)
