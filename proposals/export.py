"""Export of proposals to file formats that other programs read; `proposals.reading` reads them back."""

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from proposals.extras import needs_extra
from proposals.files import atomic_write, temporary_folder
from proposals.types import Proposals

Named = tuple[str, Proposals]
"""An image's name and its proposals."""

EXPORT_FORMATS = (".npz", ".jsonl", ".json", ".mat", ".pkl", "")
"""The suffixes of files to export to; a name without a suffix is a folder."""

FOLDER_INFO = "proposals.json"
"""The file beside the arrays of a folder that holds their fingerprint."""

_MASK_FORMATS = (".npz", ".jsonl", ".json")
_NUMBERED = (".json", ".pkl")
_CHUNK = 2**20


def export_proposals(path: str | os.PathLike[str], items: Iterable[Named], fingerprint: str = "") -> None:
    """Writes proposals in the format given by the suffix of `path`; the file or folder is complete or absent.

    - `.npz`: `names` (I,), `image_sizes` (I, 2) as width and height, `starts` (I + 1,), `boxes` (N, 4) xyxy, `scores`
      (N,), `sources` (N,) as indices into `source_names`; image i owns rows starts[i] to starts[i + 1]. With regions
      also `levels` (N,) and `masks` (M,) uint8, the characters of COCO's run lengths, of which box j owns
      mask_starts[j] to mask_starts[j + 1].
    - `.jsonl`: one line per image, see `to_plain`.
    - `.json`: COCO's proposal format, see `coco_entries`.
    - `.mat`: the selective_search_data of Fast R-CNN, MATLAB 5: cell arrays `boxes`, for each image (N, 4) single as
      y1 x1 y2 x2, counted from 1, all inclusive, and `images`, the names without suffix; also `image_sizes` (I, 2) as
      width and height. Needs SciPy. Other programs take the images in the order of their own list.
    - `.pkl`: Detectron's proposal file, a pickled dictionary of lists: `boxes`, for each image (N, 4) float32 x1 y1 x2
      y2, counted from 0, all inclusive, `scores` (N,) float32 and `indexes`, the numbers in the file names; also
      `image_sizes`.
    - no suffix: a folder that DETReg takes as its cache: for each image NAME.npy, (N, 4) float32 xyxy.

    All but `.mat` and `.pkl` are written as the images come, so that memory does not grow with the boxes.

    Args:
        path: the file, or the folder, which must not exist.
        items: names and proposals, of all images with regions or of none.
        fingerprint: that of the proposer, which is written with the boxes.

    Raises:
        ValueError: the suffix is unknown, the names do not suit the format, or the format has no place for regions.
        OSError: the file cannot be written.
    """
    check_export(path)
    path = Path(path)
    items = _checked(path, items)
    if path.suffix == "":
        with temporary_folder(path) as folder:
            _write_folder(folder, items, fingerprint)
            os.rename(folder, path)
        return
    with atomic_write(path) as temporary:
        if path.suffix == ".npz":
            _write_npz(temporary, items, fingerprint)
        elif path.suffix == ".mat":
            _write_mat(temporary, items, fingerprint)
        elif path.suffix == ".pkl":
            _write_pickle(temporary, items, fingerprint)
        else:
            with open(temporary, "w", encoding="utf-8") as file:
                _write_json(file, items, fingerprint, lines=path.suffix == ".jsonl")


def check_export(path: str | os.PathLike[str], names: Iterable[str] = (), *, regions: bool = False) -> None:
    """Checks in advance whether images with these names can be exported to `path`.

    Args:
        regions: whether the proposals have regions.

    Raises:
        ValueError: they cannot; the message says why.
    """
    path = Path(path)
    if path.suffix not in EXPORT_FORMATS or (path.suffix == "" and path.name.startswith(".")):
        endings = ", ".join(filter(None, EXPORT_FORMATS))
        raise ValueError(f"{path}: the file name must end in {endings}, or have no ending for a folder of .npy")
    if regions and path.suffix not in _MASK_FORMATS:
        raise ValueError(f"{path}: this format has no place for masks; export to {', '.join(_MASK_FORMATS)}")
    if path.suffix == "" and path.exists():
        raise ValueError(f"{path}: exists already; give the name of a new folder")
    if path.suffix == ".mat":
        scipy_io()
    seen: dict[Any, str] = {}
    for name in names:
        if path.suffix in _NUMBERED:
            image_number(name, seen)
        elif path.suffix == "":
            _stem(name, seen)


def _checked(path: Path, items: Iterable[Named]) -> Iterator[Named]:
    """The items; an error if the format has no place for the masks of one."""
    for name, proposals in items:
        check_export(path, regions=proposals.regions is not None)
        yield name, proposals


def to_plain(name: str, proposals: Proposals, fingerprint: str = "") -> dict[str, Any]:
    """Returns the proposals of an image as JSON values: boxes in xyxy pixels, right and bottom exclusive.

    With regions there are `levels`, and `masks` as the `counts` of COCO's compressed RLE.
    """
    width, height = proposals.image_size
    plain: dict[str, Any] = {
        "image": name,
        "width": width,
        "height": height,
        "boxes": np.round(proposals.boxes.astype(np.float64), 2).tolist(),
        "scores": np.round(proposals.scores.astype(np.float64), 6).tolist(),
        "sources": proposals.sources.tolist(),
        "source_names": list(proposals.source_names),
    }
    if proposals.regions is not None:
        plain["levels"] = proposals.regions.levels.tolist()
        plain["masks"] = [counts.decode("ascii") for counts in proposals.regions.counts]
    if fingerprint:
        plain["fingerprint"] = fingerprint
    return plain


def coco_entries(items: Iterable[Named], fingerprint: str = "") -> Iterator[dict[str, Any]]:
    """Yields COCO result entries, one per box, with `bbox` (x, y, width, height) and `category_id` 1.

    As in COCO, `image_id` is the number in the file name: 139 for 000000000139.jpg. Regions are `segmentation`, in
    COCO's compressed RLE. The first entry of every image has the `fingerprint`.

    Raises:
        ValueError: a file name is not a number, or two files have the same number.
    """
    seen: dict[int, str] = {}
    for name, proposals in items:
        number = image_number(name, seen)
        boxes = proposals.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        scores = proposals.scores.astype(np.float64).tolist()
        for i, (box, score) in enumerate(zip(boxes.tolist(), scores, strict=True)):
            entry: dict[str, Any] = {"image_id": number, "category_id": 1, "bbox": box, "score": round(score, 6)}
            if proposals.regions is not None:
                entry["segmentation"] = proposals.regions.rle(i)
            if fingerprint and i == 0:
                entry["fingerprint"] = fingerprint
            yield entry


def image_number(name: str, seen: dict[Any, str]) -> int:
    """Returns the number that a file name is, and adds it to those `seen`.

    Raises:
        ValueError: the name is no number, or one seen before.
    """
    stem = Path(name).stem
    if not (stem.isascii() and stem.isdigit()):
        raise ValueError(f"{name}: this format needs files named by number; export to .jsonl or .npz instead")
    number = int(stem)
    if number in seen:
        raise ValueError(f"{name}: has the same number as {seen[number]}; export to .jsonl or .npz instead")
    seen[number] = name
    return number


def _stem(name: str, seen: dict[Any, str]) -> str:
    stem = Path(name).name.split(".")[0]  # as DETReg cuts names, at the first dot
    if stem in seen:
        raise ValueError(f"{name}: up to its first dot named as {seen[stem]}; export to .jsonl or .npz instead")
    seen[stem] = name
    return stem


def _write_json(file: IO[str], items: Iterable[Named], fingerprint: str, *, lines: bool) -> None:
    if lines:
        file.writelines(json.dumps(to_plain(name, proposals, fingerprint)) + "\n" for name, proposals in items)
        return
    separator = "["
    for entry in coco_entries(items, fingerprint):
        file.write(f"{separator}\n{json.dumps(entry)}")
        separator = ","
    file.write("[]\n" if separator == "[" else "\n]\n")


def _write_npz(path: Path, items: Iterable[Named], fingerprint: str) -> None:
    names: list[str] = []
    sizes, starts, mask_sizes = [], [0], []
    with_regions = False
    source_names: dict[str, int] = {}
    rows: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "boxes": (np.float32, (4,)), "scores": (np.float32, ()), "sources": (np.int16, ()),
        "levels": (np.int32, ()), "masks": (np.uint8, ()),
    }  # fmt: skip
    with ExitStack() as stack:
        # An .npy begins with its length, which is known only at the end: the rows wait in unnamed files.
        files = {key: stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for key in rows}
        for name, proposals in items:
            if names and (proposals.regions is not None) != with_regions:
                raise ValueError(f"{name}: either all images have regions or none")
            with_regions = proposals.regions is not None
            # Images may have proposals of different methods; the file has one list of source names for all.
            codes = [source_names.setdefault(source, len(source_names)) for source in proposals.source_names]
            arrays = [proposals.boxes, proposals.scores, np.array(codes, np.int16)[proposals.sources]]
            if proposals.regions is not None:
                mask_sizes.append(np.array([len(counts) for counts in proposals.regions.counts], np.int64))
                arrays += [proposals.regions.levels, np.frombuffer(b"".join(proposals.regions.counts), np.uint8)]
            for file, array in zip(files.values(), arrays, strict=False):
                file.write(array.tobytes())
            names.append(name)
            sizes.append(proposals.image_size)
            starts.append(starts[-1] + len(proposals))
        small = {
            "names": np.array(names, np.str_),
            "image_sizes": np.array(sizes, np.int64).reshape(-1, 2),
            "starts": np.array(starts),
            "source_names": np.array(list(source_names), np.str_),
            "fingerprint": np.array(fingerprint, np.str_),
        }
        if with_regions:
            small["mask_starts"] = np.cumsum(np.concatenate([np.zeros(1, np.int64), *mask_sizes]))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, array in small.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            for key, (dtype, columns) in rows.items():
                if key in ("levels", "masks") and not with_regions:
                    continue
                size = np.dtype(dtype).itemsize * (columns[0] if columns else 1)
                shape = (files[key].tell() // size, *columns)
                header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
                files[key].seek(0)
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_2_0(member, header)
                    shutil.copyfileobj(files[key], member, _CHUNK)


def _write_mat(path: Path, items: Iterable[Named], fingerprint: str) -> None:
    names: list[str] = []
    sizes, boxes = [], []
    for name, proposals in items:
        x1, y1, x2, y2 = proposals.boxes.T
        names.append(Path(name).stem)
        sizes.append(proposals.image_size)
        boxes.append(np.stack((y1 + 1, x1 + 1, y2, x2), axis=1))
    cells = np.empty((2, len(names)), object)
    for i, (name, box) in enumerate(zip(names, boxes, strict=True)):
        cells[0, i], cells[1, i] = name, box
    content = {
        "images": cells[0].reshape(-1, 1),
        "boxes": cells[1].reshape(1, -1),
        "image_sizes": np.array(sizes, np.float64).reshape(-1, 2),
        "fingerprint": fingerprint,
    }
    io = scipy_io()
    try:
        io.savemat(path, content, do_compression=True)
    except (io.matlab.MatWriteError, MemoryError) as error:
        raise ValueError(f"too large for the format ({error}); export to .npz or .jsonl instead") from None


def _write_pickle(path: Path, items: Iterable[Named], fingerprint: str) -> None:
    from proposals.pickles import write_pickle

    content: dict[str, Any] = {"boxes": [], "scores": [], "indexes": [], "image_sizes": []}
    seen: dict[int, str] = {}
    for name, proposals in items:
        content["indexes"].append(image_number(name, seen))
        content["image_sizes"].append(proposals.image_size)
        content["boxes"].append(proposals.boxes - np.array([0, 0, 1, 1], np.float32))
        content["scores"].append(proposals.scores)
    write_pickle(path, {**content, "fingerprint": fingerprint})


def _write_folder(folder: Path, items: Iterable[Named], fingerprint: str) -> None:
    seen: dict[str, str] = {}
    for name, proposals in items:
        with open(folder / f"{_stem(name, seen)}.npy", "wb") as file:
            np.lib.format.write_array(file, proposals.boxes, allow_pickle=False)
    (folder / FOLDER_INFO).write_text(json.dumps({"fingerprint": fingerprint}) + "\n")


def scipy_io() -> Any:
    """Returns the module `scipy.io`; raises ValueError if SciPy is missing."""
    try:
        import scipy.io
    except ImportError:
        raise ValueError(needs_extra("a .mat", "mat")) from None
    return scipy.io
