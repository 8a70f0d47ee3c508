"""Custom data sets joined, split and written in VOC's, COCO's or YOLO's layout, with copies of their photos.

What is written reads back as it was: `read_custom_dataset` finds the labels and the validation photos by the folders.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from detector.data.annotations import Sample
from detector.data.custom_dataset import CustomDataset, Layout
from detector.data.formats.files import new_folder, to_inclusive
from detector.data.formats.voc_xml import write_annotation
from detector.data.validation import choose_photos
from detector.errors import InputError
from detector.structures.class_names import default_class_ids, same_classes

_DECIMALS = 3  # of coordinates in COCO's files, in pixels


def merge(sets: Sequence[CustomDataset]) -> CustomDataset:
    """One data set of all photos; classes that mean the same (`same_classes`) are one, under the first name.

    Raises:
        InputError: a photo is in two of the sets.
    """
    names: list[str] = []
    for data in sets:
        known = same_classes(data.class_names, names)
        names += [name for name in data.class_names if name not in known]
    samples: dict[str, Sample] = {}
    seen: dict[Path, Path] = {}
    val: set[str] = set()
    notes = [note for data in sets for note in data.notes]
    ids: set[tuple[str, int | str]] = set()
    for number, data in enumerate(sets, start=1):
        same = same_classes(data.class_names, names)
        notes += [f"{data.path}: {name} counts as {same[name]}" for name in data.class_names if same[name] != name]
        if missing := set(names) - set(same.values()):
            has = f"has labels of {len(names) - len(missing)} of {len(names)} classes"
            notes.append(f"{data.path}: {has}; objects of the others in its photos count as background")
        if data.class_ids:
            ids |= {(same[name], id) for name, id in zip(data.class_names, data.class_ids, strict=True)}
        labels = np.array([names.index(same[name]) for name in data.class_names])
        for sample in data.samples:
            if (first := seen.setdefault(sample.image_path.resolve(), data.path)) != data.path:
                raise InputError(f"{sample.image_path}: is in {first} and in {data.path}; leave it out of one of them")
            sample_id = sample.id if sample.id not in samples else f"{data.path.stem}-{number}/{sample.id}"
            samples[sample_id] = Sample(sample_id, sample.image_path, sample.annotations.relabel(labels))
            if sample.id in data.val:
                val.add(sample_id)
    by_name = dict(ids)
    class_ids = tuple(by_name[name] for name in names) if all(data.class_ids for data in sets) else ()
    return replace(
        sets[0],
        path=Path(" + ".join(str(data.path) for data in sets)),
        class_names=tuple(names),
        samples=tuple(samples.values()),
        val=frozenset(val),
        faults=tuple(fault for data in sets for fault in data.faults),
        notes=tuple(notes),
        class_ids=class_ids if len(set(class_ids)) == len(ids) == len(names) else (),
    )


def split(data: CustomDataset, share: float, seed: int = 0) -> CustomDataset:
    """The data with a share of the photos of each class for validation, in place of its own split (`choose_photos`)."""
    chosen = choose_photos(data, share, seed)
    ids = (sample.id for sample, is_val in zip(data.samples, chosen.tolist(), strict=True) if is_val)
    return replace(data, val=frozenset(ids))


def write_dataset(path: str | Path, data: CustomDataset, layout: Layout) -> tuple[str, ...]:
    """Writes a new folder with the photos and their labels.

    - voc: `train/JPEGImages`, `train/Annotations`, `train/ImageSets/Main/train.txt`, and the same below `val`. Boxes
      are whole pixels.
    - coco: `train`, `val`, and `annotations/instances_train.json`, `instances_val.json`; difficult objects are crowds.
    - yolo: `images/train`, `labels/train`, the same with `val`, and `data.yaml`; difficult objects are left out.

    Returns:
        What to know, a line each.

    Raises:
        InputError: the folder is not empty or cannot be written, or a photo cannot be copied.
    """
    stems = _stems(data)
    with new_folder(Path(path)) as folder:
        for part in ("train", "val"):
            samples = [sample for sample in data.samples if (sample.id in data.val) == (part == "val")]
            if samples:
                files = [f"{stems[sample.id]}{sample.image_path.suffix.lower()}" for sample in samples]
                _WRITERS[layout](folder, part, samples, files, data)
        if layout == "yolo":
            lines = [f"{part.name}: images/{part.name}\n" for part in sorted((folder / "images").iterdir())]
            lines += ["names:\n", *(f"  {n}: {json.dumps(name)}\n" for n, name in enumerate(data.class_names))]
            (folder / "data.yaml").write_text("".join(lines), encoding="utf-8")
    difficult = sum(int(sample.annotations.difficult.sum()) for sample in data.samples)
    if not difficult or layout == "voc":
        return ()
    became = "are crowds in COCO's layout" if layout == "coco" else "are left out, since YOLO's layout cannot mark them"
    return (f"{difficult} difficult objects {became}",)


def _stems(data: CustomDataset) -> dict[str, str]:
    """A file name without suffix for each photo, by its id: its own, or with its folders where others share that."""
    shared = Counter(Path(sample.id).stem.casefold() for sample in data.samples)
    long = {
        sample.id: Path(sample.id).with_suffix("").as_posix().strip("/").replace("/", "_") for sample in data.samples
    }
    stems = {id: Path(id).stem if shared[Path(id).stem.casefold()] == 1 else name for id, name in long.items()}
    shared = Counter(stem.casefold() for stem in stems.values())  # twice: a.jpg and a.png of one folder
    taken: set[str] = set()
    for id, stem in stems.items():
        stem += (shared[stem.casefold()] > 1) * Path(id).suffix.replace(".", "_")
        names = (f"{stem}_{number}" if number else stem for number in count())  # twice: a/b.jpg and a_b.jpg
        stems[id] = next(name for name in names if name.casefold() not in taken)
        taken.add(stems[id].casefold())
    return stems


def _copy(folder: Path, samples: Iterable[Sample], files: Iterable[str]) -> None:
    folder.mkdir(parents=True)
    for sample, file in zip(samples, files, strict=True):
        try:
            shutil.copyfile(sample.image_path, folder / file)
        except OSError as error:
            raise InputError(f"{sample.image_path}: cannot be copied ({error.strerror or error})") from None


def _write_voc(folder: Path, part: str, samples: Sequence[Sample], files: Sequence[str], data: CustomDataset) -> None:
    _copy(folder / part / "JPEGImages", samples, files)
    for name in ("Annotations", "ImageSets/Main"):
        (folder / part / name).mkdir(parents=True)
    stems = [Path(file).stem for file in files]
    for sample, stem, file in zip(samples, stems, files, strict=True):
        objects = sample.annotations
        write_annotation(
            folder / part / f"Annotations/{stem}.xml",
            file,
            objects.image_size,
            [data.class_names[label] for label in objects.labels.tolist()],
            to_inclusive(objects.boxes.astype(np.float64)),
            difficult=objects.difficult.tolist(),
        )
    (folder / part / f"ImageSets/Main/{part}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")


def _write_coco(folder: Path, part: str, samples: Sequence[Sample], files: Sequence[str], data: CustomDataset) -> None:
    _copy(folder / part, samples, files)
    ids = data.class_ids or default_class_ids(data.class_names)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (sample, file) in enumerate(zip(samples, files, strict=True), start=1):
        objects = sample.annotations
        width, height = objects.image_size
        images.append({"id": number, "file_name": file, "width": width, "height": height})
        columns = zip(objects.boxes.astype(float), objects.labels.tolist(), objects.difficult.tolist(), strict=True)
        for (x1, y1, x2, y2), label, difficult in columns:
            bbox = [round(float(value), _DECIMALS) for value in (x1, y1, x2 - x1, y2 - y1)]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": ids[label], "bbox": bbox,
                 "area": round(bbox[2] * bbox[3], _DECIMALS), "iscrowd": int(difficult)}
            )  # fmt: skip
    categories = [{"id": id, "name": name} for id, name in zip(ids, data.class_names, strict=True)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / f"annotations/instances_{part}.json").write_text(json.dumps(content), encoding="utf-8")


def _write_yolo(folder: Path, part: str, samples: Sequence[Sample], files: Sequence[str], data: CustomDataset) -> None:
    _copy(folder / "images" / part, samples, files)
    (folder / "labels" / part).mkdir(parents=True)
    for sample, file in zip(samples, files, strict=True):
        objects = sample.annotations
        boxes, size = objects.boxes.astype(np.float64), np.array(objects.image_size)
        low, high = boxes[:, :2] / size, boxes[:, 2:] / size
        rows = np.concatenate([(low + high) / 2, high - low], axis=1)
        kept = zip(objects.labels.tolist(), rows.tolist(), objects.difficult.tolist(), strict=True)
        lines = [" ".join(map(str, [label, *row])) + "\n" for label, row, difficult in kept if not difficult]
        (folder / f"labels/{part}/{Path(file).stem}.txt").write_text("".join(lines), encoding="utf-8")


_WRITERS = {"voc": _write_voc, "coco": _write_coco, "yolo": _write_yolo}
