"""Custom data sets joined, split and written: what is written reads back as it was."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.cli import main
from detector.data.annotations import Annotations, Sample
from detector.data.custom_dataset import CustomDataset, Layout, read_custom_dataset
from detector.data.reading import read_part
from detector.data.writing import merge, split, write_dataset
from detector.errors import InputError

Make = Callable[..., CustomDataset]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a data set of photos of 120x90 pixels, of which every third has no object."""

    def make_data(folder: str, photos: int, names: tuple[str, ...], **fields: object) -> CustomDataset:
        (tmp_path / folder / "a").mkdir(parents=True)
        samples = []
        for number in range(photos):
            path = tmp_path / folder / f"a/{number}.png"
            Image.fromarray(np.full((90, 120, 3), number, np.uint8)).save(path)
            boxes = [[number, 5, 60 + number, 45 + copy] for copy in range(number % 3)]
            labels = [number % len(names)] * len(boxes)
            objects = Annotations(boxes, labels, [number == 2 and photos < 20] * len(boxes), (120, 90))
            samples.append(Sample(f"a/{number}.png", path, objects))
        return replace(CustomDataset(tmp_path / folder, "voc", names, tuple(samples)), **fields)  # type: ignore[arg-type]

    return make_data


def content(data: CustomDataset) -> dict[str, tuple[bool, tuple[int, int], list[object]]]:
    """By stem of the photo: whether it is for validation, its size, and its objects' class, flag and box."""
    return {
        sample.image_path.stem: (
            sample.id in data.val,
            sample.annotations.image_size,
            [
                (data.class_names[label], difficult, box)
                for label, difficult, box in zip(
                    sample.annotations.labels.tolist(),
                    sample.annotations.difficult.tolist(),
                    np.round(sample.annotations.boxes, 2).tolist(),
                    strict=True,
                )
            ],
        )
        for sample in data.samples
    }


@pytest.mark.parametrize("layout", ["voc", "coco", "yolo"])
@pytest.mark.parametrize("val", [frozenset(), frozenset({"a/1.png", "a/3.png"})])
def test_what_is_written_reads_back(make: Make, tmp_path: Path, layout: Layout, val: frozenset[str]):
    data = make("photos", 9, ("cat", "two words"), val=val, class_ids=(3, 70))
    notes = write_dataset(tmp_path / "out", data, layout)
    again = read_custom_dataset(tmp_path / "out")
    expected = content(data)
    if layout == "yolo":  # has no flag for them
        expected["2"] = (*expected["2"][:2], [])
    assert bool(notes) is (layout != "voc")
    assert (again.layout, set(again.class_names)) == (layout, {"cat", "two words"})
    assert content(again) == expected
    assert again.class_ids == ((3, 70) if layout == "coco" else ())
    for sample in again.samples:
        assert sample.image_path.read_bytes() == (tmp_path / f"photos/a/{sample.image_path.name}").read_bytes()


@pytest.mark.parametrize(
    ("ids", "stems"),
    [
        (("a/x.png", "b/x.png", "b/x.jpg"), {"a_x", "b_x_png", "b_x_jpg"}),
        (("a/x.png", "b/x.png", "a_x.png"), {"a_x_png", "b_x", "a_x_png_1"}),
    ],
)
def test_photos_of_one_name_get_different_ones(make: Make, tmp_path: Path, ids: tuple[str, ...], stems: set[str]):
    data = make("photos", 3, ("cat",))
    renamed = [replace(sample, id=name) for sample, name in zip(data.samples, ids, strict=True)]
    write_dataset(tmp_path / "out", replace(data, samples=tuple(renamed)), "yolo")
    names = {path.stem for path in (tmp_path / "out/images/train").iterdir()}
    assert names == stems
    assert {path.stem for path in (tmp_path / "out/labels/train").iterdir()} == names


def test_a_folder_with_files_is_kept(make: Make, tmp_path: Path):
    with pytest.raises(InputError, match=f"^{tmp_path}: "):
        write_dataset(tmp_path, make("photos", 3, ("cat",)), "voc")


def test_classes_that_mean_the_same_are_joined(make: Make):
    first = make("one", 6, ("cat", "aeroplane"), class_ids=(1, 2), val=frozenset({"a/0.png"}))
    second = make("two", 6, ("airplane", "dog"), class_ids=(2, 3))
    joined = merge([first, second])
    assert joined.class_names == ("cat", "aeroplane", "dog")
    assert joined.class_ids == (1, 2, 3)
    assert len(joined.samples) == 12
    assert len({sample.id for sample in joined.samples}) == 12
    assert joined.val == {"a/0.png"}
    assert any("airplane counts as aeroplane" in note for note in joined.notes)
    assert sum("2 of 3 classes" in note for note in joined.notes) == 2
    assert not merge([first, make("three", 3, ("aeroplane", "cat"))]).notes
    counts = Counter(joined.class_names[label] for sample in joined.samples for label in sample.annotations.labels)
    # Photos 1, 2, 4 and 5 show 1, 2, 1 and 2 objects, of the first class if their number is even.
    assert counts == {"cat": 3, "aeroplane": 3 + 3, "dog": 3}
    assert merge([first, replace(second, class_ids=(7, 3))]).class_ids == ()
    with pytest.raises(InputError, match=r"one/a/0\.png: "):
        merge([first, replace(first, path=Path("other"))])


def test_a_split_is_by_class_and_seed(make: Make):
    data = make("photos", 60, ("cat", "dog"))
    chosen = split(data, 0.25, seed=1)
    assert chosen.val == split(data, 0.25, seed=1).val != split(data, 0.25, seed=2).val
    shown = Counter(
        data.class_names[sample.annotations.labels[0]] if len(sample.annotations) else ""
        for sample in data.samples
        if sample.id in chosen.val
    )
    assert shown == {"": 5, "cat": 5, "dog": 5}


def test_the_parts_of_a_custom_dataset_for_an_evaluation(make: Make, tmp_path: Path):
    write_dataset(tmp_path / "out", make("photos", 30, ("cat", "dog")), "coco")
    parts = {part: read_part(tmp_path / "out", part) for part in ("train", "val", "all")}  # type: ignore[arg-type]
    ids = {part: set(data.truth.image_ids) for part, data in parts.items()}
    assert ids["train"] | ids["val"] == ids["all"]
    assert not ids["train"] & ids["val"]
    assert len(ids["val"]) == 6
    assert set(read_part(tmp_path / "out", seed=7).truth.image_ids) != ids["val"]
    for data in parts.values():
        assert data.folder is not None
        assert all((data.folder / file).is_file() for file in data.truth.files)
    named = replace(make("named", 6, ("cat",)), val=frozenset({"a/1.png"}))
    write_dataset(tmp_path / "split", named, "yolo")
    assert read_part(tmp_path / "split").truth.image_ids == ("images/val/1.png",)


def test_the_command_joins_splits_and_writes(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("one", "two"):
        write_dataset(tmp_path / f"{name}.voc", make(name, 6, ("cat", "dog")), "voc")
    out = tmp_path / "joined"
    arguments = [f"{tmp_path}/one.voc", f"{tmp_path}/two.voc", "--val", "0.5", "--out", str(out), "--to", "yolo"]
    with pytest.raises(SystemExit) as stopped:
        main(["data", *arguments])
    assert not stopped.value.code
    text = capsys.readouterr().out
    for line in ("photos       12, 4 of them", "cat ", "dog ", "validation   6 of", f"written      {out}"):
        assert line in text
    again = read_custom_dataset(out)
    assert (again.layout, len(again.samples), len(again.val)) == ("yolo", 12, 6)


def test_a_wrong_label_is_named_by_the_command(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dataset(tmp_path / "out", make("photos", 6, ("cat",)), "yolo")
    (tmp_path / "out/labels/train/1.txt").write_text("0 0.5 0.5 0 0.5\n")
    for options, code, fact in (((), 2, "--skip-bad-labels"), (("--skip-bad-labels",), 0, "")):
        with pytest.raises(SystemExit) as stopped:
            main(["data", str(tmp_path / "out"), *options])
        assert int(stopped.value.code or 0) == code
        captured = capsys.readouterr()
        assert "labels/train/1.txt: line 1" in captured.err + captured.out
        assert fact in captured.err
