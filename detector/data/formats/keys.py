"""Lookups of a ground truth's images and classes by the ids and names in files of detections."""

import re
from collections.abc import Callable, Iterable, Sequence

from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.structures.class_names import same_classes

Key = str | int

UNKNOWN = -1
"""The index of a key that the ground truth does not have."""
AMBIGUOUS = -2
"""The index of a name that several images share."""

_EXTENSION = re.compile(r"\.[A-Za-z]\w{0,4}$")


class KeyIndex(dict[Key, int]):
    """Indices by key. A key is resolved at its first lookup and kept."""

    def __init__(self, resolve: Callable[[Key], int]) -> None:
        super().__init__()
        self._resolve = resolve

    def __missing__(self, key: Key) -> int:
        index = self[key] = self._resolve(key)
        return index


def image_index(truth: GroundTruth) -> KeyIndex:
    """Indices of images by id, or by the path, the name or the stem of their file.

    A number is an image's id, or the number of an id of digits such as 000139 (detectors that name images after their
    files write 139), but never the name of a file. A text that means two images is `AMBIGUOUS`. A path is also tried
    without its folders (of Windows too) and without its extension.
    """
    ids: dict[Key, int] = {image_id: index for index, image_id in enumerate(truth.image_ids)}
    _add(ids, map(str, truth.image_ids))
    numbers: dict[Key, int] = {}
    for image_id, index in ids.items():
        if isinstance(image_id, str) and is_number(image_id):
            number = int(image_id)
            numbers[number] = index if numbers.get(number, index) == index else AMBIGUOUS
    names: dict[Key, int] = {}
    _add(names, truth.files)
    _add(names, map(file_name, truth.files))
    _add(names, (stem(file_name(file)) for file in truth.files))
    # A text that is the id of one image and the name of another's file could mean either.
    for key, index in ids.items():
        if isinstance(key, str):
            names[key] = index if names.get(key, index) == index else AMBIGUOUS

    def resolve(key: Key) -> int:
        if not isinstance(key, str):
            return ids.get(key, ids.get(str(key), numbers.get(key, UNKNOWN)))
        candidates = (key, stem(key), file_name(key), stem(file_name(key)))
        return next((names[name] for name in candidates if name in names), UNKNOWN)

    return KeyIndex(resolve)


def stem_index(truth: GroundTruth) -> KeyIndex:
    """Indices of images by the name of their file without its extension, and by nothing else."""
    names: dict[Key, int] = {}
    _add(names, (stem(file_name(file)) for file in truth.files))
    return KeyIndex(lambda key: names.get(key, UNKNOWN))


def check_names(truth: GroundTruth, names: Sequence[str], index: KeyIndex) -> None:
    """InputError if `index` would not find an image by its name in `names`, because another image has it too."""
    for position, name in enumerate(names):
        if index[name] != position:
            raise InputError(f"image {truth.image_ids[position]!r}: {name!r} is the name of another image too")


def class_id_index(truth: GroundTruth) -> dict[Key, int]:
    """Indices of classes by `truth.class_ids`; numbers may be written as text, and the other way round."""
    indices: dict[Key, int] = {class_id: index for index, class_id in enumerate(truth.class_ids)}
    for class_id, index in list(indices.items()):
        if isinstance(class_id, int):
            indices.setdefault(str(class_id), index)
        elif is_number(class_id) and str(int(class_id)) == class_id:
            indices.setdefault(int(class_id), index)
    return indices


def class_name_index(truth: GroundTruth) -> KeyIndex:
    """Indices of classes by name: the exact one, or else the one that `same_classes` finds."""
    exact = {name: index for index, name in enumerate(truth.class_names)}

    def resolve(key: Key) -> int:
        name = str(key)
        return exact.get(name, exact.get(same_classes([name], truth.class_names).get(name, name), UNKNOWN))

    return KeyIndex(resolve)


def is_number(text: str) -> bool:
    """Whether a text is a whole number of at most 19 digits 0 to 9, without a sign."""
    return text.isascii() and text.isdigit() and len(text) < 20


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def stem(name: str) -> str:
    """A file's name without its extension, which begins with a letter: "v1.2" has none."""
    return _EXTENSION.sub("", name)


def _add(indices: dict[Key, int], names: Iterable[str]) -> None:
    """Adds each image's name, unless an earlier kind of name has it already."""
    new: dict[Key, int] = {}
    for index, name in enumerate(names):
        if name not in indices:
            new[name] = index if new.get(name, index) == index else AMBIGUOUS
    indices |= new
