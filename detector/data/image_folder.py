"""Photos that are labelled by the names of their folders or files, as ImageNet's are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.errors import InputError
from detector.images import EXTENSIONS


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and the index of its class."""

    path: Path
    label: int


def labelled_photos(root: Path, class_names: Sequence[str]) -> list[LabelledPhoto]:
    """The photos of a folder that are named by their class: in a subfolder CLASS, or as CLASS_ANYTHING.jpg.

    A class is named by its whole name, its synset (`n01440764`, the first word of the name), or its first synonym.

    Raises:
        InputError: the folder is missing, holds no photos, or a name is no class; names it.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of photos")
    known: dict[str, int] = {}
    for index in reversed(range(len(class_names))):  # of equal names the first counts
        name = class_names[index]
        known |= dict.fromkeys((name, name.split()[0], name.split(",")[0]), index)
    photos = []
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()):
        inside = path.relative_to(root).parts
        name = inside[0] if len(inside) > 1 else path.stem
        label = known.get(name, known.get(name.split("_")[0]))
        if label is None:
            known_names = f"the model's {len(class_names)} classes, such as '{class_names[0]}'"
            raise InputError(f"{path}: '{name}' is none of {known_names}")
        photos.append(LabelledPhoto(path, label))
    if not photos:
        raise InputError(f"{root}: holds no photos; name them CLASS/photo.jpg or CLASS_photo.jpg")
    return photos


def class_folders(root: Path) -> tuple[str, ...]:
    """The classes of a folder that has a subfolder for each: their names, sorted.

    Raises:
        InputError: the folder is missing or has fewer than two subfolders.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < 2:
        raise InputError(f"{root}: has {len(names)} subfolders; give one for each of at least two classes")
    return names
