"""A user's own photos and labels, found out by looking: VOC's XML files, COCO's JSON or YOLO's text files.

Wrong labels stop the reader, all named at once: they can be mended, and training without them would teach that their
objects are background. A photo that is missing, damaged or of another size than its labels say is left out and told.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import yaml
from PIL import Image as PillowImage

from detector.data.annotations import Annotations, Sample
from detector.data.coco import read_coco
from detector.data.faults import Fault, Faults
from detector.data.ground_truth import GroundTruth
from detector.data.voc_archive import read_voc
from detector.data.voc_xml import parse_split, parse_xml
from detector.data.yolo import read_yolo, upright_size
from detector.data.yolo_config import read_yolo_config
from detector.errors import InputError
from detector.images import EXTENSIONS

OwnLayout = Literal["voc", "coco", "yolo"]
OWN_LAYOUTS: tuple[OwnLayout, ...] = get_args(OwnLayout)

_HELD_BACK = ("val", "valid", "validation")  # names of parts of a data set, of which some formats make folders
_UNUSED = ("test",)
_CLASS_LISTS = ("classes.txt", "labels.txt", "predefined_classes.txt")
# A box that is further outside its photo, in pixels or in parts of a side, belongs to another photo.
_TOLERANCE = (2.0, 0.01)


@dataclass(frozen=True, eq=False)
class OwnData:
    """What was found.

    Attributes:
        path: what the user named.
        layout: of the labels.
        class_names: of all labels, also of classes that no photo shows.
        samples: photos and their objects; ids are all different.
        held_back: ids of the photos that the data set itself keeps for judging; empty if it has no such part.
        faults: photos that were left out, and why.
        notes: what the reader has to know, a line each.
    """

    path: Path
    layout: OwnLayout
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    held_back: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    def of_classes(self, names: Sequence[str]) -> "OwnData":
        """The same photos with the objects of some of the classes, in the order of `names`.

        Raises:
            InputError: a name is none of the classes, or comes twice.
        """
        missing = [name for name in names if name not in self.class_names]
        if missing or len(set(names)) < len(names):
            fault = f"no class '{missing[0]}'" if missing else "a class is named twice"
            raise InputError(f"{self.path}: {fault}; there are {', '.join(self.class_names)}")
        place = np.full(len(self.class_names), -1)
        place[[self.class_names.index(name) for name in names]] = np.arange(len(names))
        samples = []
        for sample in self.samples:
            old = sample.annotations
            kept = place[old.labels] >= 0
            objects = Annotations(old.boxes[kept], place[old.labels[kept]], old.difficult[kept], old.image_size)
            samples.append(replace(sample, annotations=objects))
        return replace(self, class_names=tuple(names), samples=tuple(samples))

    def without(self, faults: Sequence[tuple[str, Fault]]) -> "OwnData":
        """The data without some samples, by id, and why."""
        ids = {sample_id for sample_id, _ in faults}
        samples = tuple(sample for sample in self.samples if sample.id not in ids)
        return replace(self, samples=samples, faults=(*self.faults, *(fault for _, fault in faults)))


def read_own_data(path: str | Path, layout: OwnLayout | None = None, classes: Sequence[str] | None = None) -> OwnData:
    """Finds photos and labels.

    Args:
        path: a folder with photos and labels somewhere below; or the file that names them: COCO's JSON, YOLO's
            data.yaml, a list in VOC's `ImageSets/Main`.
        layout: of the labels; by default what `path` holds.
        classes: take only objects of these classes.

    Photos in a part called val or valid (a folder, YOLO's key) are held back, those of test are left out. In VOC's
    layout, a file classes.txt or labels.txt beside the labels lists the classes; without it they are those that occur.

    Raises:
        InputError: there are no photos, no labels or no objects, labels of several layouts, or a class is unknown.
        FaultyDataError: labels are wrong; each fault names the file and the record.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give the folder of photos and labels")
    layout = layout or _find_layout(path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        parts = list({"voc": _voc, "coco": _coco, "yolo": _yolo}[layout](path))
        data = _joined(path, layout, parts)
    data = replace(data, notes=(*data.notes, *(str(one.message) for one in told)))
    if classes is not None:
        data = data.of_classes(classes)
    if not data.samples:
        first = f"; the first: {data.faults[0]}" if data.faults else ""
        raise InputError(f"{path}: no photo can be used, of {len(data.faults)} that have labels{first}")
    if not any(len(sample.annotations) for sample in data.samples):
        raise InputError(f"{path}: {len(data.samples)} photos, but not one labelled object to learn from")
    return data


@dataclass(frozen=True, eq=False)
class _Part:
    """Ground truth, where its photos may be, the name of its part of the data set, photos that have none."""

    truth: GroundTruth
    folders: tuple[Path, ...]
    name: str = ""
    faults: tuple[Fault, ...] = ()


def _find_layout(path: Path) -> OwnLayout:
    if path.is_file():
        by_suffix: dict[str, OwnLayout] = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".txt": "voc"}
        if path.suffix.lower() not in by_suffix:
            raise InputError(f"{path}: give a folder, COCO's JSON, YOLO's data.yaml or a list in VOC's ImageSets/Main")
        return by_suffix[path.suffix.lower()]
    kinds: list[OwnLayout] = []
    if any(_files(path, ".xml")):
        kinds.append("voc")
    if any(_is_coco(file) for file in _files(path, ".json")):
        kinds.append("coco")
    if _data_yaml(path) is not None:
        kinds.append("yolo")
    if len(kinds) > 1:
        raise InputError(f"{path}: holds labels of several layouts, {', '.join(kinds)}; name one with --format")
    if kinds:
        return kinds[0]
    if not _photos(path):
        raise InputError(f"{path}: holds no photos")
    hint = ""
    if any(_files(path, ".txt")):
        hint = "; for YOLO's text files add a data.yaml with the lines 'train: .' and 'names: [first, second]'"
    raise InputError(f"{path}: holds photos, but no labels of VOC (.xml), COCO (.json) or YOLO (data.yaml){hint}")


def _files(folder: Path, *suffixes: str) -> list[Path]:
    found = (one for one in folder.rglob("*") if one.suffix.lower() in suffixes and not one.name.startswith("."))
    return sorted(one for one in found if one.is_file())


def _photos(folder: Path) -> list[Path]:
    return _files(folder, *EXTENSIONS)


def _is_coco(path: Path) -> bool:
    return b'"annotations"' in path.read_bytes()


def _data_yaml(folder: Path) -> Path | None:
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            content = yaml.safe_load(path.read_bytes())
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(content, dict) and "names" in content:
            return path
    return None


def _part_name(path: Path, root: Path) -> str:
    """Which part of the data set at `root` a path belongs to, by the folders on the way; "" if they do not say."""
    names = [part.casefold() for part in path.relative_to(root).parts] if path.is_relative_to(root) else []
    return next((name for name in names if name in (*_HELD_BACK, *_UNUSED)), "")


def _voc(path: Path) -> Iterator[_Part]:
    listed: tuple[str, ...] | None = None
    if path.is_file():
        if path.parent.parent.name != "ImageSets":
            raise InputError(f"{path}: is no list in VOC's ImageSets/Main; give the folder of photos and labels")
        root = path.parent.parent.parent
        listed = parse_split(path.read_bytes(), str(path))
        folders = [root / "Annotations"]
    else:
        root = path
        folders = sorted({file.parent for file in _files(root, ".xml")})
    if not folders:
        raise InputError(f"{path}: holds no labels of VOC (.xml)")
    names = _voc_classes(root, folders, listed)
    for folder in folders:
        truth = read_voc(folder, listed, names)
        near = (folder, *(folder.parent / name for name in ("JPEGImages", "images", "Images")), folder.parent, root)
        yield _Part(truth, near, _part_name(folder, root))


def _voc_classes(root: Path, folders: Iterable[Path], listed: Sequence[str] | None) -> tuple[str, ...]:
    """The classes of a list beside the labels, or of the labels by name."""
    for file in (one / name for one in (root, *folders) for name in _CLASS_LISTS):
        if file.is_file():
            return tuple(dict.fromkeys(filter(None, map(str.strip, file.read_text(encoding="utf-8").splitlines()))))
    names = set()
    for folder in folders:
        for file in folder.glob("*.xml") if listed is None else (folder / f"{one}.xml" for one in listed):
            try:
                elements = parse_xml(file.read_bytes()).iterfind("object/name")
                names |= {(element.text or "").strip() for element in elements}
            except (InputError, OSError):  # `read_voc` names it
                continue
    return tuple(sorted(names - {""})) or ("nothing",)


def _coco(path: Path) -> Iterator[_Part]:
    files = [path] if path.is_file() else [file for file in _files(path, ".json") if _is_coco(file)]
    if not files:
        raise InputError(f"{path}: holds no labels of COCO (.json)")
    root = path.parent if path.is_file() else path
    for file in files:
        above = file.parent.parent
        near = (file.parent, file.parent / "images", file.parent / file.stem, above, above / "images", root)
        # instances_val.json, or _annotations.coco.json in a folder valid
        words = file.stem.casefold().replace("-", "_").split("_")
        name = next((word for word in words if word.startswith(("val", "test"))), "")
        yield _Part(
            read_coco(file), near, _part_name(file.parent, root) or (name and ("val", "test")["te" in name[:2]])
        )


def _yolo(path: Path) -> Iterator[_Part]:
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
        unreadable: list[Fault] = []
        truth = read_yolo(file, split, unreadable)
        yield _Part(truth, (root,), "val" if split == "val" else "", tuple(unreadable))


def _same_source(file: Path) -> bool:
    """Whether the photos to judge by are those to train on, or are not there."""
    held_back = read_yolo_config(file, "val").sources
    return held_back == read_yolo_config(file, "train").sources or not any(one.exists() for one in held_back)


def _joined(path: Path, layout: OwnLayout, parts: Sequence[_Part]) -> OwnData:
    names = tuple(dict.fromkeys(name for part in parts for name in part.truth.class_names))
    index = {name: label for label, name in enumerate(names)}
    root = path if path.is_dir() else path.parent
    samples: dict[str, Sample] = {}
    held_back: set[str] = set()
    left_out = [fault for part in parts for fault in part.faults]
    notes: list[str] = []
    labels = Faults()
    for part in parts:
        if part.name in _UNUSED:
            notes.append(f"{len(part.truth.image_ids)} photos of the part '{part.name}' are left out")
            continue
        find = _Finder(part.folders)
        places = np.array([index[name] for name in part.truth.class_names])
        for i, rows in enumerate(part.truth.rows_by_image()):
            file = part.truth.files[i]
            photo = find(file, exact=layout != "voc")
            if isinstance(photo, str):
                left_out.append(Fault(file, "", photo))
                continue
            try:
                size = upright_size(photo)
            except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
                left_out.append(Fault(str(photo), "", " ".join(str(error).split())))
                continue
            said = tuple(part.truth.image_sizes[i].tolist())
            if said[0] and said != size:
                wrong = f"is {size[0]}x{size[1]} pixels, but its labels say {said[0]}x{said[1]}"
                left_out.append(Fault(str(photo), "", wrong))
                continue
            boxes = _cut(part.truth.boxes[rows], size, photo, labels)
            difficult = part.truth.difficult[rows] | part.truth.crowd[rows]
            sample_id = photo.relative_to(root).as_posix() if photo.is_relative_to(root) else photo.as_posix()
            if sample_id in samples:
                labels.add(photo, "", "has labels twice")
                continue
            objects = Annotations(boxes, places[part.truth.labels[rows]], difficult, size)
            samples[sample_id] = Sample(sample_id, photo, objects)
            if part.name in _HELD_BACK:
                held_back.add(sample_id)
    labels.check()
    known = {sample.image_path for sample in samples.values()} | {Path(fault.file) for fault in left_out}
    bare = [photo for photo in _photos(path) if photo not in known] if path.is_dir() and layout != "yolo" else []
    if bare and not any(part.name in _UNUSED for part in parts):
        notes.append(f"{len(bare)} photos have no labels and are left out, the first is {bare[0]}")
    ordered = tuple(samples[key] for key in sorted(samples))
    return OwnData(path, layout, names, ordered, frozenset(held_back), tuple(left_out), tuple(notes))


def _cut(boxes: np.ndarray, size: tuple[int, int], photo: Path, faults: Faults) -> np.ndarray:
    """The boxes cut at the border of the photo; one that is far outside, or has nothing in it, is a fault."""
    limit = np.array([*size, *size], np.float64)
    cut = np.clip(boxes, 0, limit)
    allowed = np.maximum(_TOLERANCE[0], _TOLERANCE[1] * limit)
    good = (np.abs(cut - boxes) <= allowed).all(axis=1) & (cut[:, 2:] - cut[:, :2] > 0).all(axis=1)
    for row in np.flatnonzero(~good).tolist():
        shown = ", ".join(f"{value:g}" for value in boxes[row].tolist())
        faults.add(photo, f"label {row + 1}", f"box ({shown}) is outside the photo of {size[0]}x{size[1]} pixels")
        cut[row] = (0, 0, *size)
    return cut


class _Finder:
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
            for photo in _photos(self.folders[-1]):
                self.below.setdefault(photo.name if exact else photo.stem, []).append(photo)
        found = self.below.get(Path(file).name if exact else file.removesuffix(".jpg"), [])
        if len(found) > 1:
            return f"several photos have this name, {found[0]} and {found[1]}"
        return found[0] if found else f"no such photo, in {self.folders[0]} or below {self.folders[-1]}"
