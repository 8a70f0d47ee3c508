"""Proposals as files that other programs read."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from proposals.files import atomic_write
from proposals.types import Proposals

Named = tuple[str, Proposals]
"""An image's name and its proposals."""

EXPORT_FORMATS = (".npz", ".jsonl", ".json")


def export_proposals(path: str | os.PathLike[str], items: Iterable[Named]) -> None:
    """Writes proposals in the format that the ending of `path` names; the file is complete or absent.

    - `.npz`: `names` (I,), `image_sizes` (I, 2) width and height, `starts` (I + 1,): image i has the rows starts[i] to
      starts[i + 1] of `boxes` (N, 4) xyxy, `scores` (N,) and `sources` (N,), an index into `source_names`.
    - `.jsonl`: a line an image, as `to_plain` gives it.
    - `.json`: COCO's proposal format, see `coco_entries`.

    Raises ValueError for another ending, OSError if the file cannot be written.
    """
    check_export(path)
    path = Path(path)
    with atomic_write(path) as temporary:
        if path.suffix == ".npz":
            _write_npz(temporary, items)
            return
        with open(temporary, "w", encoding="utf-8") as file:
            if path.suffix == ".jsonl":
                file.writelines(json.dumps(to_plain(name, proposals)) + "\n" for name, proposals in items)
                return
            separator = "[\n"
            for entry in coco_entries(items):
                file.write(separator + json.dumps(entry))
                separator = ",\n"
            file.write("[]\n" if separator == "[\n" else "\n]\n")


def check_export(path: str | os.PathLike[str], names: Iterable[str] = ()) -> None:
    """Finds out before the work whether images of these names can be exported to `path`; raises ValueError."""
    suffix = Path(path).suffix
    if suffix not in EXPORT_FORMATS:
        raise ValueError(f"{path}: the name must end in {', '.join(EXPORT_FORMATS)}")
    seen: dict[int, str] = {}
    for name in names if suffix == ".json" else ():
        _coco_id(name, seen)


def to_plain(name: str, proposals: Proposals) -> dict[str, Any]:
    """An image as plain values: boxes (x1, y1, x2, y2) in pixels, right and bottom exclusive, best first."""
    width, height = proposals.image_size
    return {
        "image": name,
        "width": width,
        "height": height,
        "boxes": np.round(proposals.boxes.astype(np.float64), 2).tolist(),
        "scores": np.round(proposals.scores.astype(np.float64), 6).tolist(),
        "sources": proposals.sources.tolist(),
        "source_names": list(proposals.source_names),
    }


def coco_entries(items: Iterable[Named]) -> Iterator[dict[str, Any]]:
    """COCO's result format: one entry a box, `bbox` (x, y, width, height), `category_id` 1 for every box.

    `image_id` is the number that the file's name consists of (000000000139.jpg: 139), as in COCO.

    Raises ValueError for a file whose name is no number, or a number that comes twice.
    """
    seen: dict[int, str] = {}
    for name, proposals in items:
        number = _coco_id(name, seen)
        boxes = proposals.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        for box, score in zip(boxes.tolist(), proposals.scores.astype(np.float64).tolist(), strict=True):
            yield {"image_id": number, "category_id": 1, "bbox": box, "score": round(score, 6)}


def _coco_id(name: str, seen: dict[int, str]) -> int:
    stem = Path(name).stem
    if not (stem.isascii() and stem.isdigit()):
        raise ValueError(f"{name}: COCO's format needs files named by number; take .jsonl or .npz instead")
    number = int(stem)
    if number in seen:
        raise ValueError(f"{name}: has the same number as {seen[number]}; take .jsonl or .npz instead")
    seen[number] = name
    return number


def _write_npz(path: Path, items: Iterable[Named]) -> None:
    names, sizes, parts = [], [], []
    source_names: dict[str, int] = {}
    for name, proposals in items:
        # Images may come from several methods: one list of names for all.
        codes = [source_names.setdefault(source, len(source_names)) for source in proposals.source_names]
        names.append(name)
        sizes.append(proposals.image_size)
        parts.append((proposals.boxes, proposals.scores, np.array(codes, np.int16)[proposals.sources]))
    boxes, scores, sources = zip(*parts, strict=True) if parts else ([], [], [])
    np.savez_compressed(
        path,
        names=np.array(names, np.str_),
        image_sizes=np.array(sizes, np.int64).reshape(-1, 2),
        starts=np.cumsum([0, *map(len, boxes)]),
        boxes=np.concatenate([np.empty((0, 4), np.float32), *boxes]),
        scores=np.concatenate([np.empty(0, np.float32), *scores]),
        sources=np.concatenate([np.empty(0, np.int16), *sources]),
        source_names=np.array(list(source_names), np.str_),
    )
