"""Data sets by their layout; what is restricted stays together."""

from pathlib import Path

import numpy as np
import pytest

from detector.data.blacklist import Blacklist
from detector.data.ground_truth import GroundTruth
from detector.data.reading import DataSet, read_data_set
from detector.errors import InputError

TRUTH = GroundTruth(
    image_ids=("a", "b"), class_names=("cat", "dog", "hen"), images=[0, 1], labels=[2, 0], boxes=[[0, 0, 1, 1]] * 2
)


def test_the_blacklist_follows_classes_and_images() -> None:
    data = DataSet(truth=TRUTH, name="val", blacklist=Blacklist(np.array([0, 1, 1]), np.array([0, 2, 1])))
    some = data.of_classes(["hen", "cat"])
    assert some.blacklist is not None
    assert (some.blacklist.images.tolist(), some.blacklist.labels.tolist()) == ([0, 1], [1, 0])
    first = data.first(1)
    assert first.blacklist is not None
    assert (first.blacklist.images.tolist(), first.blacklist.labels.tolist()) == ([0], [0])
    assert first.truth.image_ids == ("a",)
    plain = DataSet(truth=TRUTH, name="val")
    assert plain.of_classes(["dog"]).blacklist is plain.first(1).blacklist is None


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("voc", {}, "--dataset voc needs --root"),
        ("voc", {"root": Path("x")}, "--dataset voc needs --root"),
        ("coco", {"root": Path("x")}, "--dataset coco needs --annotations: the JSON file"),
        ("yolo", {}, "--dataset yolo needs --annotations: the data.yaml"),
        ("ilsvrc", {}, "--dataset ilsvrc needs --annotations: the folder of XML files"),
        ("ilsvrc", {"annotations": Path("x"), "split": "y"}, "--dataset ilsvrc needs --split, the list file, and"),
    ],
)
def test_what_is_missing_is_named(layout: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data_set(layout, **options)  # type: ignore[arg-type]
