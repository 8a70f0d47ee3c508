"""Class names across data sets: one thing, several spellings."""

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


def same_classes(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Which of the `known` classes each of `names` is; a class that is none of them is left out.

    Case, underscores and hyphens make no difference, and the names that VOC, COCO and ImageNet have for the same
    objects are one.

    >>> same_classes(["Dog", "airplane", "kite"], ["aeroplane", "dog"])
    {'Dog': 'dog', 'airplane': 'aeroplane'}
    """
    by_key = {_key(name): name for name in reversed(known)}
    return {name: by_key[_key(name)] for name in names if _key(name) in by_key}


def _key(name: str) -> str:
    plain = " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
    return next((group[0] for group in _SAME if plain in group), plain)
