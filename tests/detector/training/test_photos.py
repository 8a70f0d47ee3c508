"""Training photos of several data sets: one list of classes, partly annotated sets, rare classes."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.config import parse
from detector.data.annotations import Annotations
from detector.errors import InputError
from detector.training.assembly import make_loop
from detector.training.augmentation import TrainingImage, mixup, mosaic
from detector.training.photos import PhotoSet, read_photo_sets
from detector.training.recipes import PhotosConfig, RFCNRecipe

CATEGORIES = {3: "airplane", 7: "bus", 90: "robot"}


def write_coco(folder: Path, photos: Sequence[Sequence[int]], categories: dict[int, str] = CATEGORIES) -> None:
    """A COCO file and its photos of 120x90, with one object for each category id of a photo."""
    folder.mkdir()
    images, annotations = [], []
    for number, ids in enumerate(photos):
        pixels = np.random.default_rng(number).integers(90, 150, (90, 120, 3), dtype=np.uint8)
        for place, category in enumerate(ids):
            pixels[10:60, 10 + 40 * place : 40 + 40 * place] = 5 * category % 256
            box = [10 + 40 * place, 10, 30, 50]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": category, "bbox": box, "area": 1500}
            )
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 120, "height": 90})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in categories.items()],
    }
    (folder / "labels.json").write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path / "all", [[3], [7, 90], [7], []])
    write_coco(tmp_path / "part", [[2], [1]], {1: "Bus", 2: "aeroplane"})
    return tmp_path


def config(*parts: dict, val: str = "all/labels.json", repeat: float = 0.0) -> PhotosConfig:
    values = {"train": list(parts), "val": val, "repeat_threshold": repeat}
    return parse(PhotosConfig, values, "test")


ALL = {"path": "all/labels.json"}
PART = {"path": "part/labels.json", "labeled_classes": ["airplane", "bus"]}


def test_classes_of_all_sets_are_those_of_the_first(root: Path):
    train, val = read_photo_sets(config(ALL, PART), root)
    assert train.class_names == val.class_names == ("airplane", "bus", "robot")
    assert train.class_ids == (3, 7, 90)
    labels = [sample.annotations.labels.tolist() for sample in train.samples]
    assert labels == [[0], [1, 2], [1], [], [0], [1]]
    unlabeled = [sample.annotations.unlabeled for sample in train.samples]
    assert unlabeled == [*[frozenset()] * 4, *[frozenset({2})] * 2]
    assert len(set(train.ids)) == 6
    assert [sample.annotations.labels.tolist() for sample in val.samples] == labels[:4]


def test_rare_classes_are_repeated(root: Path):
    """Robots are in 1 of 4 photos: with a threshold of 1 their photo is there twice, buses' sqrt(2) times."""
    train, _ = read_photo_sets(config(ALL, repeat=1.0), root)
    counts = [train.ids.count(f"all/labels.json/{n}.png") for n in range(4)]
    assert counts[1] == 2
    assert counts[2] in (1, 2)
    assert counts[3] == 1


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([ALL, {"path": "part/labels.json"}], ("part/labels.json", "2 of 3", "labeled_classes")),
        ([ALL, {**PART, "labeled_classes": ["bux"]}], ("labeled_classes", "'bux'", "bus")),
        ([{"path": "part/labels.json"}, ALL], ("all/labels.json", "'robot'")),
        ([{"path": "none.json"}], ("none.json",)),
    ],
)
def test_wrong_sets_are_named(root: Path, parts: list[dict], words: Sequence[str]):
    with pytest.raises(InputError) as error:
        read_photo_sets(config(*parts), root)
    assert all(word in str(error.value) for word in words)


def test_a_missing_photo_is_named(root: Path):
    (root / "part/1.png").unlink()
    with pytest.raises(InputError, match=r"1\.png"):
        read_photo_sets(config(ALL, PART), root)


RECIPE = {
    "data": {"train": [ALL, PART], "val": "all/labels.json"},
    "model": {
        "input": {"short_side": 64},
        "network": {"bins": 3, "delta_bins": 7, "multibox": {"form": "grid", "grids": [2, 1], "shapes": 2}},
    },
    "augmentation": {"scale": [1.0, 1.0], "mosaic": 0.5},
    "optimizer": {"algorithm": "adamw", "steps": 3, "warmup_steps": 1, "lr": 1e-4},
    "frozen": "inception_3b",
    "ohem_rois": 16,
    "batch": 2,
    "eval_every": 3,
}


def test_mixtures_know_all_classes_that_are_not_annotated():
    def image(unlabeled: set[int]) -> TrainingImage:
        boxes = np.array([[10, 10, 50, 60]], np.float32)
        objects = Annotations(boxes, [0], [False], (120, 90), frozenset(unlabeled))
        return TrainingImage(np.zeros((90, 120, 3), np.uint8), boxes, objects)

    first, second, rng = image({2}), image({1}), np.random.default_rng(0)
    assert first.crop((0, 0, 60, 60), 0.5).annotations.unlabeled == {2}
    assert mixup(first, second, 0.5, rng).annotations.unlabeled == {1, 2}
    assert mosaic([first, image(set()), second, image({2})], (120, 90), 0.5, rng).annotations.unlabeled == {1, 2}
    relabeled = second.annotations.relabel(np.array([3, 0, -1]))
    assert (relabeled.labels.tolist(), relabeled.unlabeled) == ([3], {0})
    assert len(second.annotations.relabel(np.array([-1, 0, 1]))) == 0


def test_a_partly_annotated_photo_trains_the_annotated_classes_only(root: Path, init: Path):
    task = make_loop(parse(RFCNRecipe, RECIPE, "test"), root, root / "run", init, root / "proposals", "cpu").task
    train = task.data.dataset
    assert isinstance(train, PhotoSet)
    task.data.dataset = train.select([4, 5])
    task.recipe = dataclasses.replace(task.recipe, augmentation=dataclasses.replace(task.recipe.augmentation, mosaic=0))
    batch = task.example(0)
    assert batch.targets.unlabeled is not None
    assert batch.targets.unlabeled.all(dim=0).tolist() == [False, False, False, True]
    assert batch.multibox is not None
    assert batch.multibox.complete.tolist() == [False, False]


@pytest.mark.slow
def test_a_training_on_coco_gives_a_model_with_its_category_ids(root: Path, init: Path):
    from detector.models.weights import load_model

    loop = make_loop(parse(RFCNRecipe, RECIPE, "test"), root, root / "run", init, root / "proposals", "cpu")
    frozen, before = loop.network.backbone.inception_3b, loop.network.backbone.inception_3b.conv1x1.weight.clone()
    loop.run()
    assert (frozen.conv1x1.weight == before).all()
    model = load_model(root / "run/model.safetensors")
    assert model.class_ids == (3, 7, 90)
    assert model.metadata["split"] == "all/labels.json"
