"""Class names across data sets, which spell the same class differently, and COCO's category ids."""

import functools
import re
from collections.abc import Sequence

from detector.errors import InputError
from proposals.names import unknown_name

WORDNET_ID = re.compile(r"n\d{8}")

# Names in VOC, COCO and ImageNet for the same class.
_SYNONYMS = (
    ("aeroplane", "airplane"),
    ("cat", "domestic cat"),
    ("cow", "cattle"),
    ("computer keyboard", "keyboard"),
    ("computer mouse", "mouse"),
    ("diningtable", "dining table", "table"),
    ("hair drier", "hair dryer"),
    ("hot dog", "hotdog"),
    ("motorbike", "motorcycle"),
    ("pottedplant", "potted plant"),
    ("remote", "remote control"),
    ("skis", "ski"),
    ("sofa", "couch"),
    ("tennis racket", "racket"),
    ("tvmonitor", "tv", "tv or monitor"),
)

# COCO's categories by id, from 1 on; unused ids are None.
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
_COCO_IDS = {name: category_id for category_id, name in enumerate(_COCO, start=1) if name is not None}


def class_indices(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """The index of each name in `class_names`.

    Raises:
        InputError: a name is not among them.
    """
    indices = {name: index for index, name in enumerate(class_names)}
    for name in names:
        if name not in indices:
            raise InputError(unknown_name("class", name, class_names))
    return [indices[name] for name in names]


def same_classes(names: Sequence[str], target_names: Sequence[str]) -> dict[str, str]:
    """Maps each of `names` to the target class that it means; names without one are left out.

    Case, underscores, hyphens and the synonyms of VOC, COCO and ImageNet make no difference.

    >>> same_classes(["Dog", "airplane", "kite"], ["aeroplane", "dog"])
    {'Dog': 'dog', 'airplane': 'aeroplane'}
    """
    by_key = {_key(name): name for name in reversed(target_names)}
    return {name: by_key[_key(name)] for name in names if _key(name) in by_key}


@functools.cache  # called for every image's detections
def default_class_ids(class_names: tuple[str, ...]) -> tuple[int | str, ...]:
    """Category ids for classes without ids: COCO's if every class is one of COCO's, otherwise 1, 2, 3, ...

    >>> default_class_ids(("cat", "sofa")), default_class_ids(("cat", "raccoon"))
    ((17, 63), (1, 2))
    """
    coco_names = same_classes(class_names, tuple(_COCO_IDS))
    ids = tuple(_COCO_IDS[coco_names[name]] for name in class_names if name in coco_names)
    return ids if len(set(ids)) == len(class_names) else tuple(range(1, len(class_names) + 1))


def _key(name: str) -> str:
    plain = " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
    return next((group[0] for group in _SYNONYMS if plain in group), plain)
