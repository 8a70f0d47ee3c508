"""Reader of the objects in PASCAL VOC's annotations alone: a folder of XML files, or a devkit still in its archive.

`detector.data.voc` reads data sets that have their photos; here none is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from detector.data.archives import is_archive, read_members
from detector.data.faults import Faults, Gathered
from detector.data.ground_truth import GroundTruth
from detector.data.voc_xml import VOC_CLASSES, VOCObjects, parse_annotation, parse_split
from detector.errors import InputError

_LISTS = "ImageSets/Main"

_AnyPath = TypeVar("_AnyPath", Path, PurePosixPath)


def read_voc(
    path: str | Path,
    split: str | Sequence[str] | None = None,
    class_names: Sequence[str] = VOC_CLASSES,
    *,
    ignore_other_classes: bool = False,
    gathered: Gathered | None = None,
) -> GroundTruth:
    """The objects in annotations in PASCAL VOC's format.

    `image_ids` are the names of the XML files without their suffix, `files` those with `.jpg`.

    Args:
        path: a folder of XML files, a folder that holds `Annotations` (itself or in one folder below, such as a
            devkit), or a zip or tar (also .tar.gz) of one. An archive is read without extracting it.
        split: name of the list of images, `ImageSets/Main/<split>.txt` beside `Annotations`, in whose order they come,
            or their ids; by default all annotations there are, by name.
        class_names: the classes; labels are indices into it.
        ignore_other_classes: leave out objects of other classes; otherwise they are faults.
        gathered: what is wrong goes in here; by default it is raised.

    Raises:
        InputError: there is no such file, no annotation or no such list, there are several data sets, or the archive
            is damaged or hostile (see `read_members`).
        FaultyDataError: annotations are wrong; each fault names the file, the object and the field.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give VOC's annotations as a folder, zip or tar")
    if path.is_file() and not is_archive(path):
        raise InputError(f"{path}: is neither a zip nor a tar; give VOC's annotations as a folder, zip or tar")
    contents, lists, place = _folder(path) if path.is_dir() else _archive(path)
    if split is None:
        ids = tuple(sorted(contents))
    elif not isinstance(split, str):
        ids = tuple(split)
    elif split in lists:
        ids = parse_split(lists[split](), f"{path}: {split}.txt")
    else:
        raise InputError(f"{path}: no split {split}; there are: {', '.join(sorted(lists)) or 'none'}")

    faults = Faults() if gathered is None else gathered.faults
    labels = {name: label for label, name in enumerate(class_names)}
    found: dict[str, VOCObjects] = {}
    origins: list[tuple[str, str]] = []
    for image_id in ids:
        file, member = place(f"{image_id}.xml")
        if image_id not in contents:
            listed = f"split '{split}' lists {image_id}" if isinstance(split, str) else "it is listed"
            faults.add(file, member, f"no such annotation, but {listed}")
            continue
        try:
            content = contents[image_id]()
        except OSError as error:
            faults.add(file, member, f"cannot be read: {error.strerror}")
            continue

        def report(record: str, fault: str, file: str = file, member: str = member) -> None:
            faults.add(file, ", ".join(filter(None, (member, record))), fault)

        objects = parse_annotation(content, labels, report, ignore_other_classes=ignore_other_classes, inside=False)
        if objects.image_size == (0, 0):  # none of it could be read: whether there are objects is not known
            continue
        found[image_id] = objects
        origins += [(file, ", ".join(filter(None, (member, f"object {number}")))) for number in objects.numbers]
    if gathered is None:
        faults.check()
    else:
        gathered.origins.extend(origins)
    return GroundTruth(
        image_ids=tuple(found),
        class_names=tuple(class_names),
        images=np.repeat(np.arange(len(found)), [len(one.labels) for one in found.values()]),
        labels=np.array([label for one in found.values() for label in one.labels], np.int64),
        boxes=np.array([box for one in found.values() for box in one.boxes], np.float64).reshape(-1, 4),
        difficult=np.array([flag for one in found.values() for flag in one.difficult], bool),
        image_sizes=np.array([one.image_size for one in found.values()], np.int64).reshape(-1, 2),
        files=tuple(f"{image_id}.jpg" for image_id in found),
    )


# What each source gives: the content of each annotation by image id, and of each list of images by its name; and, for
# the faults, the file in which an annotation is, with its name in there if it is an archive.
_Contents = Mapping[str, Callable[[], bytes]]
_Place = Callable[[str], tuple[str, str]]


def _folder(path: Path) -> tuple[_Contents, _Contents, _Place]:
    near = [path, path / "Annotations"]
    far = sorted((*path.glob("*/Annotations"), *path.glob("*/*/Annotations")))
    with_xml = [[one for one in folders if any(one.glob("*.xml"))] for folders in (near, far)]
    annotations = _only(path, with_xml[0][:1] or with_xml[1])
    contents = {one.stem: one.read_bytes for one in annotations.glob("*.xml") if not one.name.startswith(".")}
    lists = (annotations.parent / _LISTS).glob("*.txt")
    return contents, {one.stem: one.read_bytes for one in lists}, lambda name: (str(annotations / name), "")


def _archive(path: Path) -> tuple[_Contents, _Contents, _Place]:
    def wanted(name: str) -> bool:
        file = PurePosixPath(name)
        # Names such as ._000001.xml are what macOS adds to an archive.
        is_list = file.suffix == ".txt" and file.parent.match(_LISTS)
        return (file.suffix == ".xml" or is_list) and not file.name.startswith(".")

    files = {PurePosixPath(name): content for name, content in read_members(path, wanted).items()}
    annotations = [name for name in files if name.suffix == ".xml"]
    folders = sorted({name.parent for name in annotations if name.parent.name == "Annotations"})
    folder = _only(path, folders or sorted({name.parent for name in annotations}))
    contents = {name.stem: _given(files[name]) for name in annotations if name.parent == folder}
    lists = {name.stem: _given(files[name]) for name in files if name.parent == folder.parent / _LISTS}
    return contents, lists, lambda name: (str(path), str(folder / name))


def _given(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def _only(path: Path, folders: Sequence[_AnyPath]) -> _AnyPath:
    if not folders:
        raise InputError(f"{path}: holds no annotation (.xml); give VOC's Annotations, or what holds them")
    if len(folders) > 1:
        raise InputError(f"{path}: holds several folders of annotations, {', '.join(map(str, folders))}; give one")
    return folders[0]
