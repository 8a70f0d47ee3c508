"""Photos labeled by the names of their folders or files, like ImageNet's."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.errors import InputError
from detector.structures.image import EXTENSIONS


@dataclass(frozen=True)
class LabeledPhoto:
    """A photo and the index of its class."""

    path: Path
    label: int


def labeled_photos(root: Path, class_names: Sequence[str]) -> list[LabeledPhoto]:
    """The photos of a folder that are named by their class: in a subfolder CLASS, or as CLASS_ANYTHING.jpg.

    A class is named by its whole name, its synset (`n01440764`, if the name begins with it), or its first synonym.
    Whole names take precedence, then the first class of that name. Hidden files and folders are ignored.

    Raises:
        InputError: the folder is missing or holds no photos, or a photo's name is not that of a class.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of photos")
    labels = _labels(class_names)
    photos = []
    files = (Path(folder) / name for folder, _, names in os.walk(root, followlinks=True) for name in names)
    for path in sorted(file for file in files if file.suffix.lower() in EXTENSIONS and file.is_file()):
        inside = path.relative_to(root).parts
        if any(part.startswith(".") for part in inside):
            continue
        name = inside[0] if len(inside) > 1 else path.stem
        words = name.split("_")
        prefixes = ("_".join(words[:count]) for count in range(len(words), 0, -1))  # the longest first
        label = next((labels[prefix] for prefix in prefixes if prefix in labels), None)
        if label is None:
            classes = f"the model's {len(class_names)} classes, such as '{class_names[0]}'"
            raise InputError(f"{path}: '{name}' is not one of {classes}")
        photos.append(LabeledPhoto(path, label))
    if not photos:
        raise InputError(f"{root}: holds no photos; name them CLASS/photo.jpg or CLASS_photo.jpg")
    return photos


def _labels(class_names: Sequence[str]) -> dict[str, int]:
    synsets, synonyms = zip(*(re.findall(r"(n\d{8}\b)?\s*([^,]*)", name)[0] for name in class_names), strict=True)
    labels: dict[str, int] = {}
    for names in (class_names, synsets, synonyms):
        for index, name in enumerate(names):
            labels.setdefault(name, index)
    labels.pop("", None)
    return labels


def class_folders(root: Path) -> tuple[str, ...]:
    """The names of a folder's subfolders, one a class, sorted.

    Raises:
        InputError: the folder is missing or has fewer than two subfolders.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < 2:
        raise InputError(f"{root}: has {len(names)} subfolders; give one for each of at least two classes")
    return names
