"""A user's own photos and labels in VOC's XML files, COCO's JSON or YOLO's text files; the layout is detected.

Faulty labels stop the reader, which names them all at once: they can be corrected, and training without them may teach
that their objects are background. On request they are skipped and counted. A photo that is missing, damaged or of
another size than its labels say is left out and reported.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from detector.data.annotations import Annotations, Sample
from detector.data.coco import read_coco
from detector.data.faults import Fault, Faults, FaultyDataError
from detector.data.ground_truth import GroundTruth, select_classes
from detector.data.photo_finder import PhotoFinder, files_below
from detector.data.voc import read_voc
from detector.data.voc_xml import parse_split, parse_xml
from detector.data.yolo import read_yolo, read_yolo_config
from detector.errors import InputError
from detector.io.text import open_text, read_content
from detector.io.yaml import parse_yaml
from detector.structures.image import EXTENSIONS, read_size
from proposals.names import unknown_name

Layout = Literal["voc", "coco", "yolo"]

_VAL = ("val", "valid", "validation")  # names of splits, often of folders
_UNUSED = ("test",)

_CLASS_LISTS = ("classes.txt", "labels.txt", "predefined_classes.txt")

# A box that leaves its photo by more, in pixels or as a fraction of a side, belongs to another photo.
_TOLERANCE = (2.0, 0.01)


@dataclass(frozen=True, eq=False)
class CustomDataset:
    """Photos with labels.

    Attributes:
        path: the file or folder that the user named.
        layout: of the labels; folders and csv have image labels alone (`detector.data.image_labels`).
        class_names: of all labels, including classes without objects.
        samples: photos and their objects; ids are distinct.
        val: ids of the photos in the data set's validation split; empty if it has none.
        faults: photos that were left out, and why.
        class_ids: COCO's category ids of the classes; empty in other layouts.
        notes: what to know about the data, a line each.
        image_labels: whether the labels are of whole photos (`detector.data.image_labels`).
    """

    path: Path
    layout: Layout | Literal["folders", "csv"]
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    val: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    class_ids: tuple[int | str, ...] = ()
    image_labels: bool = False

    def of_classes(self, names: str | Iterable[str]) -> "CustomDataset":
        """The same photos with the objects of some of the classes (a name, or several), in the order of `names`.

        Raises:
            InputError: a name is not a class, or is repeated.
        """
        names, chosen, new_labels = select_classes(names, self.class_names)
        samples = (replace(sample, annotations=sample.annotations.relabel(new_labels)) for sample in self.samples)
        ids = tuple(self.class_ids[label] for label in chosen) if self.class_ids else ()
        return replace(self, class_names=names, class_ids=ids, samples=tuple(samples))

    def without(self, faults: Sequence[tuple[str, Fault]]) -> "CustomDataset":
        """The data without these samples, given by id and the reason."""
        ids = {sample_id for sample_id, _ in faults}
        samples = tuple(sample for sample in self.samples if sample.id not in ids)
        return replace(self, samples=samples, faults=(*self.faults, *(fault for _, fault in faults)))


def read_custom_dataset(
    path: str | Path,
    layout: Layout | None = None,
    classes: str | Iterable[str] | None = None,
    *,
    skip_bad_labels: bool = False,
    photos: Path | None = None,
) -> CustomDataset:
    """Read a user's photos and labels.

    Photos of a split named val or valid (a folder, or YOLO's key) are for validation, those of test are left out. In
    VOC's layout, a file classes.txt or labels.txt beside the labels lists the classes; by default they are those of
    the labels.

    Args:
        path: a folder with photos and labels somewhere below; or the file that names them: COCO's JSON, YOLO's
            data.yaml, a list in VOC's `ImageSets/Main`.
        layout: of the labels; detected by default.
        classes: read only objects of these classes (a name, or several).
        skip_bad_labels: skip faulty labels, and photos whose labels cannot be read, with a note that counts them; by
            default they are raised.
        photos: folder of the photos, for COCO's layout alone; they are looked for near the labels by default.

    Raises:
        InputError: there are no photos, labels or objects, labels of several layouts, or a class is unknown.
        FaultyDataError: labels are wrong; each fault names the file and the record.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give the folder of photos and labels")
    if layout is not None and layout not in get_args(Layout):
        raise InputError(unknown_name("layout", layout, get_args(Layout)))
    layout = layout or _find_layout(path)
    faults = Faults(collect=True)
    if photos is not None and not photos.is_dir():
        raise InputError(f"{photos}: no such folder; give the folder of the photos")
    splits = [
        split if photos is None else replace(split, folders=(photos,)) for split in _READERS[layout](path, faults)
    ]
    data = _join(path, layout, splits, faults)
    if faults.raised or not skip_bad_labels:
        faults.check(always=True, by_file=True)
    data = replace(data, notes=(*data.notes, *faults.notes, *faults.summary()))
    if classes is not None:
        data = data.of_classes(classes)
    if not data.samples:
        faults.check(always=True, by_file=True)
        first = f"; the first: {data.faults[0]}" if data.faults else ""
        raise InputError(f"{path}: none of its {len(data.faults)} labeled photos can be used{first}")
    if not any(len(sample.annotations) for sample in data.samples):
        raise InputError(f"{path}: {len(data.samples)} photos, but no labeled object")
    return data


@dataclass(frozen=True, eq=False)
class _Split:
    """The labels in one file or folder without faulty records, and where their photos may be."""

    truth: GroundTruth
    folders: tuple[Path, ...]
    name: str  # "" if unknown


def _join(path: Path, layout: Layout, splits: Sequence[_Split], faults: Faults) -> CustomDataset:
    """The samples of all splits; labels outside their photos go to `faults`."""
    names = tuple(dict.fromkeys(name for split in splits for name in split.truth.class_names))
    samples: dict[str, Sample] = {}
    val: set[str] = set()
    left_out = faults.unreadable
    origins = iter(faults.origins)
    for split in splits:
        truth = split.truth
        find = PhotoFinder(split.folders)
        labels = np.array([names.index(name) for name in truth.class_names])
        split_origins = [next(origins) for _ in range(len(truth))]
        for i, rows in enumerate(truth.rows_by_image()):
            photo: str | Path = truth.files[i]
            try:
                photo = find(truth.files[i], exact=layout != "voc")
                size = read_size(photo)
                width, height = truth.image_sizes[i].tolist()
                if width and (width, height) != size:
                    raise InputError(f"is {size[0]}x{size[1]} pixels, but its labels say {width}x{height}")
            except InputError as error:
                left_out.append(Fault(str(photo), "", str(error).removeprefix(f"{photo}: ")))
                continue
            boxes, good = _clip(truth.boxes[rows], size, photo, [split_origins[row] for row in rows], faults)
            rows = rows[good]
            root = path if path.is_dir() else path.parent
            sample_id = photo.relative_to(root).as_posix() if photo.is_relative_to(root) else photo.as_posix()
            if sample_id in samples:
                faults.add(photo, "", "has labels twice")
                continue
            difficult = truth.difficult[rows] | truth.crowd[rows]
            objects = Annotations(boxes, labels[truth.labels[rows]], difficult, size)
            samples[sample_id] = Sample(sample_id, photo, objects)
            if split.name in _VAL:
                val.add(sample_id)
    notes = []
    used = {sample.image_path for sample in samples.values()} | {Path(fault.file) for fault in left_out}
    # In YOLO's layout, photos without labels have no objects.
    photos = files_below(path, *EXTENSIONS) if path.is_dir() and layout != "yolo" else []
    unlabeled = [photo for photo in photos if photo not in used and split_name(photo, path) not in _UNUSED]
    if unlabeled:
        count = "1 photo has" if len(unlabeled) == 1 else f"{len(unlabeled)} photos have"
        notes.append(f"{count} no labels and need --unlabeled to be used, first {unlabeled[0]}")
    ids: tuple[int | str, ...] = ()
    if layout == "coco":
        pairs = dict.fromkeys(pair for s in splits for pair in zip(s.truth.class_names, s.truth.class_ids, strict=True))
        ids = tuple(class_id for _, class_id in pairs)
        if not len(names) == len(set(ids)) == len(pairs):
            ids = ()
            notes.append("the files give the classes different category ids, so the model will have none")
    return CustomDataset(
        path=path,
        layout=layout,
        class_names=names,
        samples=tuple(samples[key] for key in sorted(samples)),
        val=frozenset(val),
        faults=tuple(left_out),
        notes=tuple(notes),
        class_ids=ids,
    )


def _clip(
    boxes: np.ndarray, size: tuple[int, int], photo: Path, origins: Sequence[tuple[str, str]], faults: Faults
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes clipped to the photo, without those far outside, which are faults, and the mask (N,) of those kept."""
    limit = np.array([*size, *size], np.float64)
    clipped = np.clip(boxes, 0, limit)
    allowed = np.maximum(_TOLERANCE[0], _TOLERANCE[1] * limit)
    good = (np.abs(clipped - boxes) <= allowed).all(axis=1) & (clipped[:, 2:] - clipped[:, :2] > 0).all(axis=1)
    for row in np.flatnonzero(~good).tolist():
        corners = ", ".join(f"{value:g}" for value in boxes[row].tolist())
        faults.add(*origins[row], f"box ({corners}) is outside the photo {photo.name} of {size[0]}x{size[1]} pixels")
    return clipped[good], good


def _find_layout(path: Path) -> Layout:
    if path.is_file():
        by_suffix: dict[str, Layout] = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".txt": "voc"}
        if path.suffix.lower() not in by_suffix:
            raise InputError(f"{path}: give a folder, COCO's JSON, YOLO's data.yaml or a list in VOC's ImageSets/Main")
        return by_suffix[path.suffix.lower()]
    layouts = layouts_in(path)
    if len(layouts) > 1:
        raise InputError(f"{path}: holds labels of several layouts, {', '.join(layouts)}; name one with --layout")
    if layouts:
        return layouts[0]
    if not files_below(path, *EXTENSIONS):
        raise InputError(f"{path}: holds no photos")
    hint = "; detector train takes photos in a folder for each class with --labels image"
    if files_below(path, ".txt"):
        hint = "; for YOLO's text files add a data.yaml with the lines 'train: .' and 'names: [first, second]'"
    raise InputError(f"{path}: holds photos, but no labels of VOC (.xml), COCO (.json) or YOLO (data.yaml){hint}")


def layouts_in(folder: Path) -> list[Layout]:
    """The layouts of the labels of boxes in a folder."""
    found: dict[Layout, bool] = {
        "voc": bool(files_below(folder, ".xml")),
        "coco": any(map(_is_coco, files_below(folder, ".json"))),
        "yolo": _data_yaml(folder) is not None,
    }
    return [layout for layout, is_found in found.items() if is_found]


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


def split_name(path: Path, root: Path) -> str:
    """The split of the data set at `root` that the folders of a path name; "" if none does."""
    names = [part.casefold() for part in path.relative_to(root).parts] if path.is_relative_to(root) else []
    return next((name for name in names if name in (*_VAL, *_UNUSED)), "")


def _voc(path: Path, faults: Faults) -> Iterator[_Split]:
    listed: tuple[str, ...] | None = None
    if path.is_file():
        if path.parent.parent.name != "ImageSets":
            raise InputError(f"{path}: is not a list in VOC's ImageSets/Main; give the folder of photos and labels")
        root = path.parent.parent.parent
        listed = parse_split(read_content(path), str(path))
        folders = [root / "Annotations"]
    else:
        root = path
        folders = sorted({file.parent for file in files_below(root, ".xml")})
        folders = [folder for folder in folders if split_name(folder, root) not in _UNUSED]
    if not folders:
        raise InputError(f"{path}: holds no labels of VOC (.xml)")
    names = _voc_classes(root, folders, listed)
    for folder in folders:
        truth = read_voc(folder, listed, names, faults=faults)
        near = (folder, *(folder.parent / name for name in ("JPEGImages", "images", "Images")), folder.parent, root)
        yield _Split(truth, near, split_name(folder, root))


def _voc_classes(root: Path, folders: Iterable[Path], listed: Sequence[str] | None) -> tuple[str, ...]:
    """The classes in a list beside the labels, or else those of the labels, sorted."""
    for file in (folder / name for folder in (root, *folders) for name in _CLASS_LISTS):
        if file.is_file():
            with open_text(file) as lines:
                return tuple(dict.fromkeys(filter(None, map(str.strip, lines))))
    names = set()
    for folder in folders:
        for file in folder.glob("*.xml") if listed is None else (folder / f"{image_id}.xml" for image_id in listed):
            try:
                elements = parse_xml(file.read_bytes()).iterfind("object/name")
                names |= {(element.text or "").strip() for element in elements}
            except (InputError, OSError):  # reported by `read_voc`
                continue
    return tuple(sorted(names - {""})) or ("nothing",)


def _coco(path: Path, faults: Faults) -> Iterator[_Split]:
    files = [path] if path.is_file() else [file for file in files_below(path, ".json") if _is_coco(file)]
    if not files:
        raise InputError(f"{path}: holds no labels of COCO (.json)")
    root = path.parent if path.is_file() else path
    by_name: dict[str, Path] = {}
    for file in files:
        name = split_name(file.parent, root) or _coco_split(file)
        if (first := by_name.setdefault(name, file)) != file:
            raise InputError(f"{path}: {first} and {file} may both be the labels; give one of them as --data")
    for name, file in by_name.items():
        if name in _UNUSED:
            continue
        above, part = file.parent.parent, file.stem.rpartition("_")[2]  # COCO: annotations/instances_train2017.json
        near = (file.parent, file.parent / "images", file.parent / file.stem, above, above / "images", above / part)
        try:
            yield _Split(read_coco(file, faults), (*near, root), name)
        except FaultyDataError:  # `faults` has them; the other files may have more
            continue


def _coco_split(file: Path) -> str:
    """The split in the name of a file such as instances_val2017.json; "" if there is none."""
    words = file.stem.casefold().replace("-", "_").split("_")
    return next((name for word in words for name in ("val", "test") if word.startswith(name)), "")


def _yolo(path: Path, faults: Faults) -> Iterator[_Split]:
    file = path if path.is_file() else _data_yaml(path)
    if file is None:
        raise InputError(f"{path}: holds no data.yaml, which names the classes and the folders of YOLO's photos")
    train = read_yolo_config(file, "train")
    splits = {"train": ""}
    try:
        val = read_yolo_config(file, "val").sources
        if val != train.sources and any(source.exists() for source in val):
            splits["val"] = "val"
    except InputError:  # there is no validation split
        pass
    for key, name in splits.items():
        try:
            yield _Split(read_yolo(file, key, faults), (train.root,), name)
        except FaultyDataError:
            continue


_READERS = {"voc": _voc, "coco": _coco, "yolo": _yolo}
