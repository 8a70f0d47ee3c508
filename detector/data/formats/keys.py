"""Which image and class of a ground truth an id or a name in a file of detections means."""

import re
from collections.abc import Callable, Iterable, Sequence

from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.structures.class_names import same_classes

Key = str | int

UNKNOWN = -1
#: The name is that of several images.
AMBIGUOUS = -2

_EXTENSION = re.compile(r"\.[A-Za-z]\w{0,4}$")


class Places(dict[Key, int]):
    """Indices by key; a key that is looked up for the first time is resolved, and its index kept."""

    def __init__(self, resolve: Callable[[Key], int]) -> None:
        super().__init__()
        self._resolve = resolve

    def __missing__(self, key: Key) -> int:
        index = self[key] = self._resolve(key)
        return index


def image_places(truth: GroundTruth) -> Places:
    """Indices of images by id, or by the path, the name or the stem of their file.

    A number is an image's id, or what an id of digits such as 000139 says, and never the name of a file: detectors
    that name images after their files write 139. A text that means two images is `AMBIGUOUS`. A path is also tried
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
        for name in (key, stem(key), file_name(key), stem(file_name(key))):
            if name in names:
                return names[name]
        return UNKNOWN

    return Places(resolve)


def file_stems(truth: GroundTruth) -> Places:
    """Indices of images by the name of their file without its extension, and by nothing else."""
    names: dict[Key, int] = {}
    _add(names, (stem(file_name(file)) for file in truth.files))
    return Places(lambda key: names.get(key, UNKNOWN))


def image_names(truth: GroundTruth, names: Sequence[str], places: Places | None = None) -> list[str]:
    """`names`, one an image, after making sure that `places`, or `image_places`, finds the images by them.

    Raises:
        InputError: a name is that of another image too.
    """
    places = image_places(truth) if places is None else places
    for index, name in enumerate(names):
        if places[name] != index:
            raise InputError(f"image {truth.image_ids[index]!r}: {name!r} is the name of another image too")
    return list(names)


def class_ids(truth: GroundTruth) -> dict[Key, int]:
    """Indices of classes by `truth.class_ids`; an id that is a number also as text, and the other way round."""
    places: dict[Key, int] = {class_id: index for index, class_id in enumerate(truth.class_ids)}
    for class_id, index in list(places.items()):
        if isinstance(class_id, int):
            places.setdefault(str(class_id), index)
        elif is_number(class_id) and str(int(class_id)) == class_id:
            places.setdefault(int(class_id), index)
    return places


def by_class_name(truth: GroundTruth) -> Places:
    """Indices of classes by name: as it is spelled, or else what `same_classes` holds for the same."""
    exact = {name: index for index, name in enumerate(truth.class_names)}

    def resolve(key: Key) -> int:
        name = str(key)
        if name in exact:
            return exact[name]
        same = same_classes([name], truth.class_names)
        return exact[same[name]] if name in same else UNKNOWN

    return Places(resolve)


def is_number(text: str) -> bool:
    """Whether a text is a whole number from 0 on, of the digits 0 to 9 and not so many that no program counts to it."""
    return text.isascii() and text.isdigit() and len(text) < 20


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def stem(name: str) -> str:
    """A file's name without its extension; what follows a dot and begins with a digit is none."""
    return _EXTENSION.sub("", name)


def _add(known: dict[Key, int], names: Iterable[str]) -> None:
    """Add each image's name unless it is known already, which then means the image that it did."""
    new: dict[Key, int] = {}
    for index, name in enumerate(names):
        if name not in known:
            new[name] = index if new.get(name, index) == index else AMBIGUOUS
    known |= new
