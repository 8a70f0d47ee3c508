"""Where a user's photos and labels are: each layout's label files, read, with the folders of their photos."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detector.data.coco import read_coco
from detector.data.faults import Faults, FaultyDataError, Gathered
from detector.data.ground_truth import GroundTruth
from detector.data.voc_archive import read_voc
from detector.data.voc_xml import parse_split, parse_xml
from detector.data.yolo import read_yolo
from detector.data.yolo_config import read_yolo_config
from detector.errors import InputError
from detector.io.text import opened
from detector.io.yaml import parse_yaml
from detector.structures.image import EXTENSIONS

Layout = Literal["voc", "coco", "yolo"]

VAL = ("val", "valid", "validation")
UNUSED = ("test",)
"""Names of parts of a data set, of which some formats make folders: photos to judge by, and photos to leave alone."""

_CLASS_LISTS = ("classes.txt", "labels.txt", "predefined_classes.txt")


@dataclass(frozen=True, eq=False)
class Part:
    """Labels of one file or folder.

    Attributes:
        truth: without the records that have faults.
        folders: where the photos may be.
        name: of the part of the data set; "" if it has none.
        gathered: photos that cannot be read, and where each object was labeled.
    """

    truth: GroundTruth
    folders: tuple[Path, ...]
    name: str
    gathered: Gathered


def find_layout(path: Path) -> Layout:
    if path.is_file():
        by_suffix: dict[str, Layout] = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".txt": "voc"}
        if path.suffix.lower() not in by_suffix:
            raise InputError(f"{path}: give a folder, COCO's JSON, YOLO's data.yaml or a list in VOC's ImageSets/Main")
        return by_suffix[path.suffix.lower()]
    kinds: list[Layout] = []
    if any(_files(path, ".xml")):
        kinds.append("voc")
    if any(_is_coco(file) for file in _files(path, ".json")):
        kinds.append("coco")
    if _data_yaml(path) is not None:
        kinds.append("yolo")
    if len(kinds) > 1:
        raise InputError(f"{path}: holds labels of several layouts, {', '.join(kinds)}; name one with --layout")
    if kinds:
        return kinds[0]
    if not photos_below(path):
        raise InputError(f"{path}: holds no photos")
    hint = ""
    if any(_files(path, ".txt")):
        hint = "; for YOLO's text files add a data.yaml with the lines 'train: .' and 'names: [first, second]'"
    raise InputError(f"{path}: holds photos, but no labels of VOC (.xml), COCO (.json) or YOLO (data.yaml){hint}")


def _files(folder: Path, *suffixes: str) -> list[Path]:
    found = (one for one in folder.rglob("*") if one.suffix.lower() in suffixes and not one.name.startswith("."))
    return sorted(one for one in found if one.is_file())


def photos_below(folder: Path) -> list[Path]:
    return _files(folder, *EXTENSIONS)


def _is_coco(path: Path) -> bool:
    content = path.read_bytes()
    return b'"annotations"' in content and b'"categories"' in content


def _data_yaml(folder: Path) -> Path | None:
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            content = parse_yaml(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and "names" in content:
            return path
    return None


def part_name(path: Path, root: Path) -> str:
    """Which part of the data set at `root` a path belongs to, by the folders on the way; "" if they do not say."""
    names = [part.casefold() for part in path.relative_to(root).parts] if path.is_relative_to(root) else []
    return next((name for name in names if name in (*VAL, *UNUSED)), "")


def read_parts(path: Path, layout: Layout, faults: Faults) -> list[Part]:
    """Reads the label files below `path`, or those that it names; parts to leave alone are left out.

    Labels with faults are left out, and the faults noted in `faults`.

    Raises:
        InputError: there are none of the layout, or what its reader refuses.
    """
    return list({"voc": _voc, "coco": _coco, "yolo": _yolo}[layout](path, faults))


def _voc(path: Path, faults: Faults) -> Iterator[Part]:
    listed: tuple[str, ...] | None = None
    if path.is_file():
        if path.parent.parent.name != "ImageSets":
            raise InputError(f"{path}: is no list in VOC's ImageSets/Main; give the folder of photos and labels")
        root = path.parent.parent.parent
        listed = parse_split(path.read_bytes(), str(path))
        folders = [root / "Annotations"]
    else:
        root = path
        every = sorted({file.parent for file in _files(root, ".xml")})
        folders = [folder for folder in every if part_name(folder, root) not in UNUSED]
    if not folders:
        raise InputError(f"{path}: holds no labels of VOC (.xml)")
    names = _voc_classes(root, folders, listed)
    for folder in folders:
        gathered = Gathered(faults)
        truth = read_voc(folder, listed, names, gathered=gathered)
        near = (folder, *(folder.parent / name for name in ("JPEGImages", "images", "Images")), folder.parent, root)
        yield Part(truth, near, part_name(folder, root), gathered)


def _voc_classes(root: Path, folders: Iterable[Path], listed: Sequence[str] | None) -> tuple[str, ...]:
    """The classes of a list beside the labels, or of the labels by name."""
    for file in (one / name for one in (root, *folders) for name in _CLASS_LISTS):
        if file.is_file():
            with opened(file) as lines:
                return tuple(dict.fromkeys(filter(None, map(str.strip, lines))))
    names = set()
    for folder in folders:
        for file in folder.glob("*.xml") if listed is None else (folder / f"{one}.xml" for one in listed):
            try:
                elements = parse_xml(file.read_bytes()).iterfind("object/name")
                names |= {(element.text or "").strip() for element in elements}
            except (InputError, OSError):  # `read_voc` names it
                continue
    return tuple(sorted(names - {""})) or ("nothing",)


def _coco(path: Path, faults: Faults) -> Iterator[Part]:
    files = [path] if path.is_file() else [file for file in _files(path, ".json") if _is_coco(file)]
    if not files:
        raise InputError(f"{path}: holds no labels of COCO (.json)")
    root = path.parent if path.is_file() else path
    names = [part_name(file.parent, root) or _coco_part(file) for file in files]
    for place, (file, name) in enumerate(zip(files, names, strict=True)):
        if name in names[:place] and len(files) > 1:
            raise InputError(
                f"{path}: {files[names.index(name)]} and {file} may both hold the labels; give one of them as --data"
            )
        if name in UNUSED:
            continue
        above = file.parent.parent
        near = (file.parent, file.parent / "images", file.parent / file.stem, above, above / "images", root)
        gathered = Gathered(faults)
        try:
            truth = read_coco(file, gathered=gathered)
        except FaultyDataError:  # noted; the other files may have faults of their own
            continue
        yield Part(truth, near, name, gathered)


def _coco_part(file: Path) -> str:
    """Which part a file such as instances_val2017.json holds, by its name; "" if that does not say."""
    words = file.stem.casefold().replace("-", "_").split("_")
    return next((name for word in words for name in ("val", "test") if word.startswith(name)), "")


def _yolo(path: Path, faults: Faults) -> Iterator[Part]:
    file = path if path.is_file() else _data_yaml(path)
    if file is None:
        raise InputError(f"{path}: holds no data.yaml, which names the classes and the folders of YOLO's photos")
    for split in ("train", "val"):
        try:
            root = read_yolo_config(file, split).root
            if split == "val" and _same_source(file):
                continue
        except InputError:
            if split == "train":
                raise
            continue  # there is no such part, or it has gone
        gathered = Gathered(faults)
        try:
            truth = read_yolo(file, split, gathered)
        except FaultyDataError:
            continue
        yield Part(truth, (root,), "val" if split == "val" else "", gathered)


def _same_source(file: Path) -> bool:
    """Whether the photos to judge by are those to train on, or are not there."""
    val = read_yolo_config(file, "val").sources
    return val == read_yolo_config(file, "train").sources or not any(one.exists() for one in val)


class PhotoFinder:
    """Finds the photo of a label file in some folders, first in those named first, then anywhere below the last."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.below: dict[str, list[Path]] | None = None

    def __call__(self, file: str, exact: bool) -> Path | str:
        """The photo, or why there is none. Unless `exact`, its suffix is not known."""
        for folder in self.folders:
            if (folder / file).is_file():
                return folder / file
            if not exact:
                for suffix in EXTENSIONS:
                    for spelt in (suffix, suffix.upper()):
                        if (path := folder / (file.removesuffix(".jpg") + spelt)).is_file():
                            return path
        if self.below is None:
            self.below = {}
            for photo in photos_below(self.folders[-1]):
                self.below.setdefault(photo.name if exact else photo.stem, []).append(photo)
        found = self.below.get(Path(file).name if exact else file.removesuffix(".jpg"), [])
        if len(found) > 1:
            return f"several photos have this name, {found[0]} and {found[1]}"
        return found[0] if found else f"no such photo, in {self.folders[0]} or below {self.folders[-1]}"
