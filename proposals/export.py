"""Export of proposals to file formats that other programs read."""

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
    """Writes proposals in the format given by the suffix of `path`; the file is complete or absent.

    - `.npz`: `names` (I,), `image_sizes` (I, 2) as width and height, `starts` (I + 1,), `boxes` (N, 4) xyxy, `scores`
      (N,), `sources` (N,) as indices into `source_names`; image i owns rows starts[i] to starts[i + 1].
    - `.jsonl`: one line per image, see `to_plain`.
    - `.json`: COCO's proposal format, see `coco_entries`.

    Raises:
        ValueError: the suffix is unknown, or `.json` is requested for images whose names are not distinct numbers.
        OSError: the file cannot be written.
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
            separator = "["
            for entry in coco_entries(items):
                file.write(f"{separator}\n{json.dumps(entry)}")
                separator = ","
            file.write("[]\n" if separator == "[" else "\n]\n")


def check_export(path: str | os.PathLike[str], names: Iterable[str] = ()) -> None:
    """Checks in advance whether images with these names can be exported to `path`; raises ValueError if not."""
    suffix = Path(path).suffix
    if suffix not in EXPORT_FORMATS:
        raise ValueError(f"{path}: the file name must end in {', '.join(EXPORT_FORMATS)}")
    seen: dict[int, str] = {}
    for name in names if suffix == ".json" else ():
        _coco_id(name, seen)


def to_plain(name: str, proposals: Proposals) -> dict[str, Any]:
    """Returns the proposals of an image as JSON values: boxes in xyxy pixels, right and bottom exclusive."""
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
    """Yields COCO result entries, one per box, with `bbox` (x, y, width, height) and `category_id` 1.

    As in COCO, `image_id` is the number in the file name: 139 for 000000000139.jpg.

    Raises:
        ValueError: a file name is not a number, or two files have the same number.
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
        raise ValueError(f"{name}: the COCO format needs files named by number; export to .jsonl or .npz instead")
    number = int(stem)
    if number in seen:
        raise ValueError(f"{name}: has the same number as {seen[number]}; export to .jsonl or .npz instead")
    seen[number] = name
    return number


def _write_npz(path: Path, items: Iterable[Named]) -> None:
    names, sizes, parts = [], [], []
    source_names: dict[str, int] = {}
    for name, proposals in items:
        # Images may have proposals of different methods; the file has one list of source names for all.
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
