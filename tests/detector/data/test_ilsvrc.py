"""ILSVRC's lists, class map, XML files and blacklist."""

from pathlib import Path

import pytest

from detector.data.faults import FaultyDataError
from detector.data.ilsvrc import read_blacklist, read_ilsvrc
from detector.errors import InputError

BIRD, CAT, NEITHER = "n01503061", "n02121808", "n99999999"


def annotation(*objects: tuple[str, tuple[int, int, int, int]]) -> str:
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><xmax>{x2}</xmax><ymin>{y1}</ymin><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for name, (x1, y1, x2, y2) in objects
    )
    return f"<annotation><size><width>100</width><height>80</height><depth>3</depth></size>{items}</annotation>"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Annotations, list and class map."""
    folder = tmp_path / "val"
    (folder / "part").mkdir(parents=True)
    (folder / "two.xml").write_text(annotation((CAT, (1, 1, 50, 40)), (NEITHER, (1, 1, 9, 9)), (BIRD, (0, 0, 9, 9))))
    (folder / "part/one.xml").write_text(annotation((NEITHER, (3, 3, 9, 9))))
    listed, classes = tmp_path / "val.txt", tmp_path / "map_det.txt"
    listed.write_text("two 1\n\npart/one 2\n")
    classes.write_text(f"{BIRD} 24 bird\n{CAT} 37 domestic cat\n")
    return folder, listed, classes


def test_what_is_read(files: tuple[Path, Path, Path]) -> None:
    truth, others = read_ilsvrc(*files)
    assert truth.image_ids == ("two", "part/one")
    assert truth.files == ("two.JPEG", "part/one.JPEG")
    assert truth.class_names == ("bird", "domestic cat")
    assert truth.class_ids == (24, 37)
    assert truth.images.tolist() == [0, 0]
    assert truth.labels.tolist() == [1, 0]
    assert truth.boxes.tolist() == [[0, 0, 50, 40], [0, 0, 9, 9]]
    assert others == {NEITHER: 2}


def test_a_list_without_numbers(files: tuple[Path, Path, Path]) -> None:
    files[1].write_text("part/one\n")
    truth, _ = read_ilsvrc(*files)
    assert (truth.image_ids, len(truth)) == (("part/one",), 0)


def test_all_wrong_annotations_are_named(files: tuple[Path, Path, Path]) -> None:
    folder, listed, _ = files
    listed.write_text("two 1\nnone 2\nbroken 3\n")
    (folder / "two.xml").write_text(annotation((CAT, (5, 5, 4, 9))))
    (folder / "broken.xml").write_text("<annotation>")
    with pytest.raises(FaultyDataError) as caught:
        read_ilsvrc(*files)
    first, second, third = str(caught.value).splitlines()
    assert first == f"{folder / 'two.xml'}: object 1: bndbox (5, 5, 4, 9) has no area"
    assert second.startswith(f"{folder / 'none.xml'}: cannot be read: No such file")
    assert third.startswith(f"{folder / 'broken.xml'}: is not well-formed XML")


@pytest.mark.parametrize(
    ("which", "content", "message"),
    [
        (1, "", "lists no image"),
        (1, "two 1\ntwo 2\n", "images: 'two' comes twice"),
        (1, "two 1 2\n", r"line 1: has 3 fields, expected a name and a number"),
        (2, "", "names no class"),
        (2, f"{CAT} 37\n", r"line 1: has 2 fields, expected a synset, a number and a name"),
        (2, f"{CAT} x cat\n", r"line 1: 'x' is no number of a class"),
        (2, f"{CAT} 1 cat\n{BIRD} 1 bird\n", "numbers: 1 comes twice"),
        (2, f"{CAT} 1 cat\n{BIRD} 2 cat\n", "names: 'cat' comes twice"),
    ],
)
def test_a_wrong_list(files: tuple[Path, Path, Path], which: int, content: str, message: str) -> None:
    files[which].write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_ilsvrc(*files)
    assert str(files[which]) in str(caught.value)
    files[which].unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_ilsvrc(*files)


def test_the_blacklist(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    truth, _ = read_ilsvrc(*files)
    path = tmp_path / "blacklist.txt"
    path.write_text("2 37\n1 24\n")
    pairs = read_blacklist(path, truth)
    assert (pairs.images.tolist(), pairs.labels.tolist()) == ([1, 0], [1, 0])
    path.write_text("")
    assert len(read_blacklist(path, truth).images) == 0
    for line, message in (
        ("3 37", r"line 1: image index 3 is not in 1\.\.2"),
        ("0 37", r"image index 0 is not in 1\.\.2"),
        ("1 2", "class id 2 is that of no class"),
        ("1 cat", "class id cat is that of no class"),
        ("1", "has 1 fields, expected an image index and a class id"),
    ):
        path.write_text(line)
        with pytest.raises(InputError, match=message):
            read_blacklist(path, truth)
