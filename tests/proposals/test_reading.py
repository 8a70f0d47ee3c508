"""Files of proposals: what is written is read back, and the layouts are those of the programs they are made for."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proposals import Proposals, Regions, export_proposals, read_proposals
from proposals.export import check_export
from proposals.pickles import as_array, read_pickle

SIZES = {"a/000007.jpg": (60, 40), "12.png": (7, 9), "b/000139.jpg": (100, 50)}
PRINT = "0123456789abcdef0123456789abcdef"


def make(count: int, size: tuple[int, int], *, regions: bool = False) -> Proposals:
    """Distinct boxes with whole corners."""
    random = np.random.default_rng(count)
    corners = np.sort(random.integers(0, (size[0], size[1]), (count, 2, 2)), axis=1).astype(np.float32)
    boxes = np.concatenate((corners[:, 0], np.minimum(corners[:, 1] + 1, size)), axis=1).astype(np.float32)
    scores = np.sort(random.random(count))[::-1].astype(np.float32)
    masks = Regions(np.arange(count), tuple(b"0%d" % i for i in range(count)), size) if regions else None
    return Proposals(boxes, scores, (np.arange(count) % 2).astype(np.int16), ("x", "y"), size, masks)


@pytest.fixture(params=[False, True], ids=["boxes", "regions"])
def items(request: pytest.FixtureRequest) -> list[tuple[str, Proposals]]:
    """Three images, the second without boxes."""
    counts = (5, 0, 3)
    return [(n, make(c, s, regions=request.param)) for c, (n, s) in zip(counts, SIZES.items(), strict=True)]


def boxes_only() -> list[tuple[str, Proposals]]:
    return [(name, make(count, size)) for count, (name, size) in zip((5, 0, 3), SIZES.items(), strict=True)]


@pytest.mark.parametrize("ending", [".npz", ".jsonl"])
def test_own_formats_keep_everything(tmp_path: Path, items: list[tuple[str, Proposals]], ending: str) -> None:
    export_proposals(tmp_path / f"boxes{ending}", items, PRINT)
    read = read_proposals(tmp_path / f"boxes{ending}")
    assert read.fingerprint == PRINT
    assert [name for name, _ in read.items] == list(SIZES)
    for (_, found), (_, expected) in zip(read.items, items, strict=True):
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        np.testing.assert_array_equal(found.sources, expected.sources)
        assert found.image_size == expected.image_size
        assert (found.regions is None) == (expected.regions is None)
        if found.regions is not None and expected.regions is not None:
            assert found.regions.counts == expected.regions.counts
            np.testing.assert_array_equal(found.regions.levels, expected.regions.levels)


@pytest.mark.parametrize("ending", [".mat", ".pkl", "", ".json"])
def test_formats_of_other_programs_keep_the_boxes(tmp_path: Path, ending: str) -> None:
    if ending == ".mat":
        pytest.importorskip("scipy.io")
    items = boxes_only()
    export_proposals(tmp_path / f"boxes{ending}", items, PRINT)
    read = read_proposals(tmp_path / f"boxes{ending}", SIZES)
    assert read.fingerprint == PRINT
    found = dict(read.items)
    for name, expected in items:
        if ending == ".json" and not len(expected):  # it has entries of boxes alone
            assert name not in found
            continue
        np.testing.assert_array_equal(found[name].boxes, expected.boxes)
        if ending in (".pkl", ".json"):
            np.testing.assert_allclose(found[name].scores, expected.scores, atol=1e-6)


def test_the_mat_is_fast_rcnns(tmp_path: Path) -> None:
    """Its reader takes [:, (1, 0, 3, 2)] - 1 of each cell, for x1, y1, x2, y2 counted from 0, all inclusive."""
    loadmat = pytest.importorskip("scipy.io").loadmat
    export_proposals(tmp_path / "voc.mat", boxes_only())
    cells = loadmat(tmp_path / "voc.mat")["boxes"].ravel()
    assert len(cells) == 3
    for cell, (_, expected) in zip(cells, boxes_only(), strict=True):
        if len(expected):
            np.testing.assert_array_equal(cell[:, (1, 0, 3, 2)] - 1, expected.boxes - (0, 0, 1, 1))


def test_the_pickle_is_detectrons(tmp_path: Path) -> None:
    export_proposals(tmp_path / "boxes.pkl", boxes_only())
    content = pickle.loads((tmp_path / "boxes.pkl").read_bytes())
    assert content["indexes"] == [7, 12, 139]
    for boxes, scores, (_, expected) in zip(content["boxes"], content["scores"], boxes_only(), strict=True):
        assert (boxes.dtype, boxes.shape) == (np.float32, (len(expected), 4))
        np.testing.assert_array_equal(boxes, expected.boxes - (0, 0, 1, 1))
        np.testing.assert_array_equal(scores, expected.scores)


def test_the_folder_is_detregs(tmp_path: Path) -> None:
    export_proposals(tmp_path / "cache", boxes_only(), PRINT)
    assert sorted(os.listdir(tmp_path / "cache")) == ["000007.npy", "000139.npy", "12.npy", "proposals.json"]
    boxes = np.load(tmp_path / "cache/000139.npy")
    assert boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes, boxes_only()[2][1].boxes)
    with pytest.raises(ValueError, match="exists"):
        check_export(tmp_path / "cache")


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Any:
        yield boxes_only()[0]
        raise KeyboardInterrupt

    for ending in (".npz", ".jsonl", ".json", ".pkl", ""):
        with pytest.raises(KeyboardInterrupt):
            export_proposals(tmp_path / f"boxes{ending}", interrupted())
        assert os.listdir(tmp_path) == []


def test_a_mat_of_detectrons_order_is_refused(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    cells = np.empty((1, 2), object)
    cells[0, 0] = np.array([[1, 1, 80, 30]], float)  # x1 y1 x2 y2 of a box 80 wide in a photo of 100x50
    cells[0, 1] = np.array([[1, 1, 2, 2]], float)
    savemat(tmp_path / "other.mat", {"boxes": cells})
    with pytest.raises(ValueError, match=r"other\.mat: p\.jpg: box 0 .*100x50.*y1, x1, y2, x2") as caught:
        read_proposals(tmp_path / "other.mat", {"p.jpg": (100, 50), "q.jpg": (9, 9)})
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="boxes of 2 images without names, but 1"):
        read_proposals(tmp_path / "other.mat", {"p.jpg": (100, 50)})
    cells[0, 0] = np.array([[1, 1, 30, 80]], float)
    savemat(tmp_path / "right.mat", {"boxes": cells})
    read = read_proposals(tmp_path / "right.mat", {"p.jpg": (100, 50), "q.jpg": (9, 9)})
    assert [found.boxes.tolist() for _, found in read.items] == [[[0, 0, 80, 30]], [[0, 0, 2, 2]]]


def test_sizes_are_asked_for(tmp_path: Path) -> None:
    content = {"boxes": [np.array([[0, 0, 4, 4]], np.float32)], "ids": [5], "scores": [np.ones(1, np.float32)]}
    (tmp_path / "d.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"d\.pkl: has no size of image 5"):
        read_proposals(tmp_path / "d.pkl")
    ((name, found),) = read_proposals(tmp_path / "d.pkl", {"000005.jpg": (5, 5)}).items
    assert (name, found.boxes.tolist()) == ("000005.jpg", [[0, 0, 5, 5]])
    with pytest.raises(ValueError, match="leaves the 4x4 image"):
        read_proposals(tmp_path / "d.pkl", {"000005.jpg": (4, 4)})


def test_scores_in_any_order_are_sorted(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], np.float64)
    content = {"boxes": [boxes], "indexes": np.array([5]), "scores": [np.array([0.1, 0.9, 0.5])]}
    for protocol in range(6):
        (tmp_path / "d.pkl").write_bytes(pickle.dumps(content, protocol))
        ((_, found),) = read_proposals(tmp_path / "d.pkl", {"5.jpg": (9, 9)}).items
        assert found.boxes[:, 2].tolist() == [3, 4, 2]


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    """NumPy's module has its old name, and the bytes are a string."""
    text = (
        b"\x80\x02}q\x01(U\x05boxesq\x02]q\x03cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85"
        b"U\x01b\x87Rq\x07(K\x01K\x01K\x04\x86cnumpy\ndtype\nq\x08U\x02f4K\x00K\x01\x87Rq\t(K\x03U\x01<NNNJ\xff\xff\xff"
        b"\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10\x00\x00\x80?\x00\x00\x00@\x00\x00@@\x00\x00\x80@tbaU\x07indexesq\n]q\x0b"
        b"K\x05au."
    )
    assert pickle.loads(text, encoding="latin1")["boxes"][0].tolist() == [[1, 2, 3, 4]]
    (tmp_path / "old.pkl").write_bytes(text)
    ((_, found),) = read_proposals(tmp_path / "old.pkl", {"5.jpg": (9, 9)}).items
    assert found.boxes.tolist() == [[1, 2, 4, 5]]


class Call:
    """Unpickles to the result of a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile_dtype() -> bytes:
    """An array of objects whose type denies it, so that NumPy would take its bytes for addresses."""
    honest = pickle.dumps(np.arange(2, dtype=np.int64), protocol=2)
    return honest.replace(b"i8", b"O8")


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Call(os.mkdir, "trace")),
        pickle.dumps(Call(eval, "open('trace', 'w')")),
        pickle.dumps({"boxes": [np.array([Call(os.mkdir, "trace")], object)]}),
        hostile_dtype(),
        b"\x80\x02r\xff\xff\xff\x7f.",  # a memo of 2^31 entries
        pickle.dumps(np.zeros(10))[:-20],
        pickle.dumps(np.zeros(10), protocol=2).replace(b"K\n", b"K\xff"),
        b"",
        b"Ppersistent\n.",
    ],
    ids=["mkdir", "eval", "objects", "dtype", "memo", "cut", "shape", "empty", "persistent"],
)
def test_hostile_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="not a readable pickle of arrays"):
        read_pickle(content)
    (tmp_path / "boxes.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"^boxes\.pkl: ") as caught:
        read_proposals("boxes.pkl")
    assert "\n" not in str(caught.value)
    assert os.listdir() == ["boxes.pkl"]


def test_arrays_that_are_none() -> None:
    nested: Any = [1]
    for _ in range(40):  # as an array it would have 2^40 numbers
        nested = [nested, nested]
    for value in (nested, ["a"], {"a": 1}, None):
        with pytest.raises(ValueError, match="in the place of an array"):
            as_array(read_pickle(pickle.dumps(value)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npz", b"PK"),
        ("a.jsonl", b'{"image": "a"}\n'),
        ("a.jsonl", b"\xff\n"),
        ("a.json", b'{"a": 1}'),
        ("a.json", b'[{"image_id": "x", "bbox": [1, 2]}]'),
        ("a.mat", b"MATLAB 5.0"),
        ("a.pkl", pickle.dumps([1])),
        ("a.pkl", pickle.dumps({"boxes": [1], "indexes": [1]})),
        ("a.txt", b""),
    ],
)
def test_damaged_files_give_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    if name.endswith(".mat"):
        pytest.importorskip("scipy.io")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name) as caught:
        read_proposals(tmp_path / name, {"1.jpg": (5, 5)})
    assert "\n" not in str(caught.value)


def test_a_folder_with_a_cut_array(tmp_path: Path) -> None:
    (tmp_path / "boxes").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.npy"):
        read_proposals(tmp_path / "boxes")
    np.save(tmp_path / "boxes/1.npy", np.zeros((2, 4), np.float32))
    content = (tmp_path / "boxes/1.npy").read_bytes()
    (tmp_path / "boxes/1.npy").write_bytes(content[:-4])
    with pytest.raises(ValueError, match=r"not a readable \.npy"):
        read_proposals(tmp_path / "boxes", {"1.jpg": (5, 5)})


def test_names_that_do_not_suit_the_format(tmp_path: Path) -> None:
    for name, names in (("b.pkl", ["cat.jpg"]), ("b.pkl", ["1.jpg", "01.png"]), ("b", ["x/1.jpg", "y/1.jpg"])):
        with pytest.raises(ValueError, match=r"export to \.jsonl or \.npz"):
            check_export(tmp_path / name, names)
    for name in ("b.mat", "b.pkl", "b"):
        with pytest.raises(ValueError, match="no place for masks"):
            check_export(tmp_path / name, regions=True)
        with pytest.raises(ValueError, match="no place for masks"):
            export_proposals(tmp_path / name, [("1.jpg", make(3, (60, 40), regions=True))])
    assert os.listdir(tmp_path) == []


def test_coco_entries_have_masks(tmp_path: Path) -> None:
    export_proposals(tmp_path / "b.json", [("7.jpg", make(3, (60, 40), regions=True))], PRINT)
    entries = json.loads((tmp_path / "b.json").read_text())
    assert [entry["segmentation"] for entry in entries] == [{"size": [40, 60], "counts": f"0{i}"} for i in range(3)]
    assert [entry.get("fingerprint") for entry in entries] == [PRINT, None, None]
