"""The description of a data set in YOLO's layout, `data.yaml`."""

import os  # its exists and isdir take a name that is too long for none
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.data.faults import Faults
from detector.errors import InputError
from detector.io.yaml import parse_yaml

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class YOLOConfig:
    """What `read_yolo_config` reads.

    Attributes:
        path: of the description itself.
        root: the folder of the data set.
        split: the key of the images asked for.
        sources: their folders and `.txt` lists, which need not exist.
        class_names: (C,), in the order of YOLO's numbers.
        keypoint_fields: fields of keypoints that follow each box, 0 in a data set without.
    """

    path: Path
    root: Path
    split: str
    sources: tuple[Path, ...]
    class_names: tuple[str, ...]
    keypoint_fields: int


def read_yolo_config(path: Path, split: str) -> YOLOConfig:
    """The description at `path`, for one of its splits.

    `path` in it is relative to the description's folder, which is also the default, and the splits are relative to
    `path`. A split that starts with `../` and is not there is looked for without, for so Roboflow writes them.

    Raises:
        InputError: it cannot be read or is no YAML mapping.
        FaultyDataError: keys are missing or wrong; each fault names the key.
    """
    try:
        content = parse_yaml(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the data set's data.yaml") from error
    except ValueError as error:
        raise InputError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no mapping, expected the keys path, {', '.join(_SPLITS)} and names")
    faults = Faults()

    folder = content.get("path") or "."
    if not isinstance(folder, str):
        faults.add(path, "key path", f"is {folder!r}, expected a folder")
        folder = "."
    root = path.parent / folder
    if not os.path.isdir(root):
        faults.add(path, "key path", f"leads to {root}, which is no folder; give it relative to {path.name}")

    given = content.get(split)
    places = [given] if isinstance(given, str) else given
    if not isinstance(places, list) or not places or not all(isinstance(one, str) and one for one in places):
        known = ", ".join(key for key in _SPLITS if content.get(key)) or "none"
        what = f"is {given!r}" if split in content else "is missing"
        faults.add(path, f"key {split}", f"{what}, expected a folder, a list of folders, or a .txt; there are: {known}")
        places = []

    names = _class_names(path, content, faults)
    faults.check()
    return YOLOConfig(
        path=path,
        root=root,
        split=split,
        sources=tuple(_source(root, place) for place in places),
        class_names=names,
        keypoint_fields=_keypoint_fields(path, content.get("kpt_shape")),
    )


def _class_names(path: Path, content: dict[Any, Any], faults: Faults) -> tuple[str, ...]:
    given = content.get("names")
    if isinstance(given, list):
        given = dict(enumerate(given))
    if not isinstance(given, dict) or not given:
        faults.add(path, "key names", f"is {given!r}, expected the classes, a list or numbers with names")
        return ()
    if any(type(key) is not int for key in given) or sorted(given) != list(range(len(given))):
        faults.add(path, "key names", f"has the numbers {list(given)}, expected 0 to {len(given) - 1}, each once")
        return ()
    names: list[str] = []
    for number in range(len(given)):
        name = given[number]
        # YAML reads a class that is called no or on as a truth value, and a digit as a number.
        if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
            faults.add(path, f"key names, {number}", f"is {name!r}, expected a text; put the name in quotes")
        elif str(name) in names:
            faults.add(path, f"key names, {number}", f"is '{name}', as is {names.index(str(name))}")
        names.append(str(name))
    if content.get("nc", len(names)) != len(names):
        faults.add(path, "key nc", f"is {content['nc']!r}, but there are {len(names)} names")
    return tuple(names)


def _keypoint_fields(path: Path, shape: Any) -> int:
    if shape is None:
        return 0
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(one) is int and one > 0 for one in shape)):
        raise InputError(f"{path}: key kpt_shape is {shape!r}, expected the number of keypoints and of their fields")
    return shape[0] * shape[1]


def _source(root: Path, place: str) -> Path:
    source = root / place
    if not os.path.exists(source) and place.startswith("../"):
        inside = root / place.removeprefix("../")
        return inside if os.path.exists(inside) else source
    return source
