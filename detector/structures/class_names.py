"""Class names across data sets: one thing, several spellings; and the ids of those that are COCO's."""

import functools
from collections.abc import Sequence

# Of VOC's, COCO's and ImageNet's names those that mean the same objects.
_SAME = (
    ("aeroplane", "airplane"),
    ("cat", "domestic cat"),
    ("cow", "cattle"),
    ("diningtable", "dining table"),
    ("motorbike", "motorcycle"),
    ("pottedplant", "potted plant"),
    ("sofa", "couch"),
    ("tvmonitor", "tv", "tv or monitor"),
)

# COCO's categories in the order of their ids, some of which have no category.
_COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", None, "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", None, "backpack", "umbrella", None, None, "handbag", "tie", "suitcase",
    "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard",
    "surfboard", "tennis racket", "bottle", None, "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana",
    "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", None, "dining table", None, None, "toilet", None, "tv", "laptop", "mouse", "remote",
    "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", None, "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
_COCO_IDS = {name: number for number, name in enumerate(_COCO, start=1) if name is not None}


def same_classes(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Which of the `known` classes each of `names` is; a class that is none of them is left out.

    Case, underscores and hyphens make no difference, and the names that VOC, COCO and ImageNet have for the same
    objects are one.

    >>> same_classes(["Dog", "airplane", "kite"], ["aeroplane", "dog"])
    {'Dog': 'dog', 'airplane': 'aeroplane'}
    """
    by_key = {_key(name): name for name in reversed(known)}
    return {name: by_key[_key(name)] for name in names if _key(name) in by_key}


@functools.cache  # every image's detections ask
def default_class_ids(class_names: tuple[str, ...]) -> tuple[int | str, ...]:
    """Category ids of classes that came without: COCO's if all are categories of COCO, otherwise 1, 2, 3, ...

    >>> default_class_ids(("cat", "sofa")), default_class_ids(("cat", "raccoon"))
    ((17, 63), (1, 2))
    """
    same = same_classes(class_names, tuple(_COCO_IDS))
    ids = tuple(_COCO_IDS[same[name]] for name in class_names if name in same)
    return ids if len(set(ids)) == len(class_names) else tuple(range(1, len(class_names) + 1))


def _key(name: str) -> str:
    plain = " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
    return next((group[0] for group in _SAME if plain in group), plain)
