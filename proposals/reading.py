"""Reading of files that `export_proposals`, Fast R-CNN, Detectron or DETReg wrote."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from proposals.export import EXPORT_FORMATS, FOLDER_INFO, Named, scipy_io
from proposals.npz import read_npy, read_npz
from proposals.types import Proposals, Regions

Sizes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class ExportedProposals:
    """The content of an exported file.

    Attributes:
        items: names of the images and their proposals, in the order of the file.
        fingerprint: that of the proposer; "" if the file has none, as those of other programs.
    """

    items: list[Named]
    fingerprint: str


def read_proposals(path: str | os.PathLike[str], image_sizes: Sizes | None = None) -> ExportedProposals:
    """Reads proposals from a file, or a folder of .npy, in a format of `export_proposals`.

    Formats without scores give 1 / rank. `.mat` and folders have the files' names without suffix, `.pkl` and `.json`
    only the numbers in them: the names are those of `image_sizes` if it is given.

    Args:
        path: the file or folder. A `.pkl` is read by an unpickler that admits arrays of numbers and nothing else.
        image_sizes: (width, height) of each image by its file name, for the formats of other programs, which have no
            sizes. A `.mat` without names has the images in this order.

    Raises:
        ValueError: the file is damaged or of another layout, a box leaves its image (in a `.mat`: the columns have
            another order), an image has no size, or SciPy is missing; the message names the file.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.suffix not in EXPORT_FORMATS or (path.suffix == "" and not path.is_dir()):
        endings = ", ".join(filter(None, EXPORT_FORMATS))
        raise ValueError(f"{path}: is no file of proposals, whose names end in {endings}, and no folder of .npy")
    find = _ImageFinder(image_sizes or {})
    read: dict[str, Callable[[], ExportedProposals]] = {
        ".npz": partial(_read_npz, path),
        ".jsonl": partial(_read_lines, path),
        ".json": partial(_read_coco, path, find),
        ".mat": partial(_read_mat, path, find),
        ".pkl": partial(_read_pickle, path, find),
        "": partial(_read_folder, path, find),
    }
    try:
        return read[path.suffix]()
    except OSError:
        raise
    except MemoryError:
        raise ValueError(f"{path}: does not fit into the memory") from None
    except Exception as error:  # a damaged file fails in any of the steps
        reason = " ".join(str(error).split())
        missing = f"has no {reason}" if isinstance(error, KeyError) else reason
        raise ValueError(f"{path}: {missing or type(error).__name__}") from None


class _ImageFinder:
    """Names and sizes of images by what a format knows of them."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._by_stem = {Path(name).stem: name for name in sizes} | {
            Path(name).name.split(".")[0]: name for name in sizes
        }
        self._by_number = {int(stem): name for stem, name in self._by_stem.items() if stem.isascii() and stem.isdigit()}

    def by_stem(self, stem: str, size: Any = None) -> tuple[str, tuple[int, int]]:
        return self._named(self._by_stem.get(stem, stem), size)

    def by_number(self, number: Any, size: Any = None) -> tuple[str, tuple[int, int]]:
        return self._named(self._by_number.get(int(number), str(int(number))), size)

    def at(self, index: int, count: int) -> tuple[str, tuple[int, int]]:
        if len(self.sizes) != count:
            raise ValueError(f"has boxes of {count} images without names, but {len(self.sizes)} images were given")
        return list(self.sizes.items())[index]

    def _named(self, name: str, size: Any) -> tuple[str, tuple[int, int]]:
        known = self.sizes.get(name, size)
        if known is None:
            raise ValueError(f"has no size of image {name}, and none was given; give the sizes of all images")
        width, height = (int(side) for side in known)
        return name, (width, height)


def _proposals(
    name: str, boxes: np.ndarray, scores: np.ndarray | None, size: tuple[int, int], hint: str = ""
) -> Proposals:
    """Proposals from boxes (N, 4) xyxy and scores (N,) in any order; without scores they are best first."""
    if boxes.size == 0:
        boxes = np.empty((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "iuf":
        raise ValueError(f"{name}: boxes must be (N, 4) numbers, not {boxes.shape} {boxes.dtype}")
    boxes = boxes.astype(np.float32)
    wrong = ~((boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= size).all(axis=1))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        corners = ", ".join(f"{value:g}" for value in boxes[first].tolist())
        raise ValueError(f"{name}: box {first} ({corners}) leaves the {size[0]}x{size[1]} image{hint}")
    if scores is None:
        scores = 1 / np.arange(1, len(boxes) + 1)
    scores = scores.astype(np.float32).reshape(-1)
    if len(scores) != len(boxes):
        raise ValueError(f"{name}: {len(boxes)} boxes but {len(scores)} scores")
    order = np.argsort(-scores, kind="stable")
    return Proposals(boxes[order], scores[order], np.zeros(len(boxes), np.int16), ("file",), size)


def _read_npz(path: Path) -> ExportedProposals:
    content = path.read_bytes()
    # Boxes unpack to less than 100 times their size; a file that unpacks to more is made to fill the memory.
    data = read_npz(content, max(2**26, 100 * len(content)))
    names, starts, sizes = data["names"].tolist(), data["starts"], data["image_sizes"].reshape(-1, 2).tolist()
    all_names = tuple(data["source_names"].tolist())
    total = len(data["boxes"])
    if len(starts) != len(names) + 1 or len(sizes) != len(names) or starts[0] != 0 or starts[-1] != total:
        raise ValueError("names, image_sizes and starts do not fit together")
    if "masks" in data:
        mask_starts, characters = data["mask_starts"].tolist(), data["masks"].tobytes()
    items = []
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        rows = slice(int(starts[i]), int(starts[i + 1]))
        regions = None
        if "masks" in data:
            masks = tuple(characters[a:b] for a, b in pairwise(mask_starts[rows.start : rows.stop + 1]))
            regions = Regions(data["levels"][rows], masks, (size[0], size[1]))
        boxes, scores, sources = (data[key][rows] for key in ("boxes", "scores", "sources"))
        items.append((name, Proposals(boxes, scores, sources, all_names, (size[0], size[1]), regions)))
    return ExportedProposals(items, str(data["fingerprint"]) if "fingerprint" in data else "")


def _read_lines(path: Path) -> ExportedProposals:
    items, fingerprints = [], []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            size = (int(entry["width"]), int(entry["height"]))
            regions = None
            if "masks" in entry:
                regions = Regions(entry["levels"], tuple(mask.encode("ascii") for mask in entry["masks"]), size)
            proposals = Proposals(
                np.array(entry["boxes"], np.float32).reshape(-1, 4),
                np.array(entry["scores"], np.float32),
                np.array(entry["sources"], np.int16),
                tuple(map(str, entry["source_names"])),
                size,
                regions,
            )
            items.append((str(entry["image"]), proposals))
            fingerprints.append(str(entry.get("fingerprint", "")))
    return ExportedProposals(items, _common(fingerprints))


def _read_coco(path: Path, find: _ImageFinder) -> ExportedProposals:
    entries = json.loads(path.read_bytes())
    images: dict[int, tuple[list[Any], list[Any]]] = {}
    for entry in entries:
        boxes, scores = images.setdefault(int(entry["image_id"]), ([], []))
        boxes.append(entry["bbox"])
        scores.append(float(entry.get("score", 1)))
    items = []
    for number, (rows, scores) in images.items():
        name, size = find.by_number(number)
        corners = np.array(rows, np.float64)
        corners[:, 2:] += corners[:, :2]
        items.append((name, _proposals(name, corners, np.array(scores), size)))
    return ExportedProposals(items, _common([entry["fingerprint"] for entry in entries if "fingerprint" in entry]))


def _read_mat(path: Path, find: _ImageFinder) -> ExportedProposals:
    known = ["boxes", "images", "image_sizes", "fingerprint"]
    try:
        data = scipy_io().loadmat(path, variable_names=known)
    except (NotImplementedError, TypeError) as error:  # a MATLAB 7.3 file, or a damaged one
        raise ValueError(f"not a MATLAB 5 file ({error})") from None
    cells = data["boxes"].ravel()
    sizes: Sequence[Any] = data["image_sizes"] if "image_sizes" in data else [None] * len(cells)
    hint = "; a .mat has y1, x1, y2, x2, counted from 1"
    items = []
    for i, cell in enumerate(cells):
        if "images" in data:
            name, size = find.by_stem(str(data["images"].ravel()[i].item()), sizes[i])
        else:
            name, size = find.at(i, len(cells))
        boxes = np.asarray(cell, np.float64)
        if boxes.size:
            boxes = boxes[:, [1, 0, 3, 2]] - np.array([1, 1, 0, 0])
            if (boxes[:, :2] >= boxes[:, 2:]).any():
                raise ValueError(f"{name}: a box has no area{hint}")
        items.append((name, _proposals(name, boxes, None, size, hint)))
    return ExportedProposals(items, str(data["fingerprint"].item()) if "fingerprint" in data else "")


def _read_pickle(path: Path, find: _ImageFinder) -> ExportedProposals:
    from proposals.pickles import as_array, read_pickle

    data = read_pickle(path.read_bytes())
    if not isinstance(data, dict) or not isinstance(data.get("boxes"), list):
        raise ValueError("is no dictionary with the list boxes, as Detectron writes it")
    count = len(data["boxes"])
    numbers = as_array(data["indexes"] if "indexes" in data else data["ids"]).reshape(-1).tolist()
    scores: Sequence[Any] = data.get("scores") or [None] * count
    sizes: Sequence[Any] = data.get("image_sizes") or [None] * count
    items = []
    for number, boxes, own_scores, own_size in zip(numbers, data["boxes"], scores, sizes, strict=True):
        name, size = find.by_number(number, own_size)
        corners = as_array(boxes).astype(np.float64)
        if corners.size:
            corners += np.array([0, 0, 1, 1])
        ranks = None if own_scores is None else as_array(own_scores)
        items.append((name, _proposals(name, corners, ranks, size)))
    return ExportedProposals(items, str(data.get("fingerprint", "")))


def _read_folder(path: Path, find: _ImageFinder) -> ExportedProposals:
    items = []
    for file in sorted(path.glob("*.npy")):
        name, size = find.by_stem(file.stem)
        items.append((name, _proposals(name, read_npy(file.read_bytes()), None, size)))
    if not items:
        raise ValueError("the folder holds no .npy")
    info = path / FOLDER_INFO
    return ExportedProposals(items, str(json.loads(info.read_bytes())["fingerprint"]) if info.is_file() else "")


def _common(fingerprints: list[str]) -> str:
    """The fingerprint that all have; "" if they differ."""
    return fingerprints[0] if len(set(fingerprints)) == 1 else ""
