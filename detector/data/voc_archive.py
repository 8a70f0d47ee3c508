"""Annotations in PASCAL VOC's XML without photos: a folder of them, or an archive of a development kit.

An archive is read where it lies; nothing is unpacked, so that no path in it can lead anywhere.
"""

import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from detector.data.annotations import Annotations
from detector.data.faults import Faults
from detector.data.ground_truth import GroundTruth
from detector.data.voc import VOC_CLASSES, split_ids
from detector.data.voc_xml import parse_annotation
from detector.errors import InputError

#: No annotation of an image is near this size; more is a bomb.
_LARGEST = 16 * 2**20
_Read = Callable[[], bytes]


def read_voc(
    path: str | Path,
    split: str | None = None,
    class_names: Sequence[str] = VOC_CLASSES,
    ignore_other_classes: bool = False,
) -> GroundTruth:
    """The ground truth of XML files; image ids are their names without `.xml`, sorted or in the order of the split.

    Args:
        path: a folder of XML files; or a folder, a .zip, .tar, .tar.gz or .tgz with a folder `Annotations`, and with
            `ImageSets/Main` if a split is named.
        split: name of a list of images; None takes all annotations.
        class_names, ignore_other_classes: as for `VOCDataset`.

    Raises:
        FaultyDataError: annotations are missing or wrong; names them all, up to a limit.
        InputError: the path or the split cannot be read, or there are no annotations.
    """
    path = Path(path)
    labels = {name: label for label, name in enumerate(class_names)}
    with _members(path) as members:
        xml = _annotation_files(path, members)
        if not xml:
            raise InputError(f"{path}: holds no annotations (.xml)")
        ids: Sequence[str] = sorted(xml)
        if split is not None:
            ids = _split(path, split, members)
        annotations: list[Annotations] = []
        faults, others = Faults(), Counter[str]()
        for image_id in ids:
            if image_id not in xml:
                faults.add(path, f"{image_id}.xml", f"no such annotation, but split '{split}' lists it")
                continue
            try:
                content = members[xml[image_id]]()
                annotations.append(parse_annotation(content, labels, others if ignore_other_classes else None))
            except InputError as error:
                faults.add(path, str(xml[image_id]), str(error))
        faults.check()
    return GroundTruth.from_annotations(ids, annotations, class_names, [f"{image_id}.jpg" for image_id in ids])


def _annotation_files(path: Path, members: dict[PurePosixPath, _Read]) -> dict[str, PurePosixPath]:
    """Annotation files by image id: those in a folder `Annotations` if there is one."""
    xml = [name for name in members if name.suffix == ".xml"]
    inside = [name for name in xml if name.parent.name == "Annotations"] or xml
    found: dict[str, PurePosixPath] = {}
    for name in inside:
        if name.stem in found:
            raise InputError(f"{path}: image {name.stem} has two annotations: {found[name.stem]} and {name}")
        found[name.stem] = name
    return found


def _split(path: Path, split: str, members: dict[PurePosixPath, _Read]) -> tuple[str, ...]:
    lists = {name.stem: name for name in members if name.suffix == ".txt" and name.parent.name == "Main"}
    if split not in lists:
        raise InputError(f"{path}: no split '{split}'; there are: {', '.join(sorted(lists)) or 'none'}")
    return split_ids(f"{path}: {lists[split]}", members[lists[split]]())


@contextmanager
def _members(path: Path) -> Iterator[dict[PurePosixPath, _Read]]:
    """The files of a folder or an archive by their paths in it, each with what reads it."""
    try:
        if path.is_dir():
            there = [file for file in path.rglob("*") if file.suffix in (".xml", ".txt") and file.is_file()]
            yield {PurePosixPath(file.relative_to(path).as_posix()): _reader(file) for file in there}
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                files = [one for one in archive.infolist() if not one.is_dir()]
                yield {_inside(path, one.filename): _zipped(archive, one) for one in files}
        else:
            with tarfile.open(path) as archive:
                yield {_inside(path, one.name): _tarred(archive, one) for one in archive if not one.isdir()}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InputError(f"{path}: is no folder and no archive to be read (.zip, .tar, .tar.gz): {error}") from None


def _inside(path: Path, name: str) -> PurePosixPath:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\\" in name:
        raise InputError(f"{path}: {name!r} leads out of the archive; do not trust it")
    return place


def _reader(file: Path) -> _Read:
    return lambda: _limited(file.stat().st_size, file.read_bytes)


def _zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Read:
    return lambda: _limited(member.file_size, lambda: archive.read(member))


def _tarred(archive: tarfile.TarFile, member: tarfile.TarInfo) -> _Read:
    def read() -> bytes:
        file = archive.extractfile(member) if member.isreg() else None
        if file is None:
            raise InputError("is a link or a device, expected a file")
        return file.read()

    return lambda: _limited(member.size, read)


def _limited(size: int, read: _Read) -> bytes:
    if size > _LARGEST:
        raise InputError(f"has {size} bytes unpacked, more than any annotation")
    return read()
