from pathlib import Path
from typing import Any

import pytest

from detector.config import (
    CropConfig,
    DetectorConfig,
    ModelConfig,
    RCNNConfig,
    config_hash,
    find_config,
    parse,
    read_yaml,
    to_plain,
)
from detector.errors import InputError
from detector.training.recipes import ClassificationRecipe, RFCNRecipe, load_recipe
from proposals.multibox.config import MultiBoxConfig, MultiBoxLossConfig

DATA = {"train_split": "train", "eval_split": "val"}


def test_defaults_fill_what_is_not_given():
    recipe = parse(RFCNRecipe, {"data": DATA, "optimizer": {"steps": 7}}, "r.yaml")
    assert recipe.optimizer.steps == 7
    assert recipe.optimizer.momentum == 0.9
    assert recipe.model == ModelConfig()


def test_plain_values_come_back_as_the_same_configuration():
    recipe = parse(RFCNRecipe, {"data": DATA, "model": {"input": {"short_side": 320}}}, "r.yaml")
    assert parse(RFCNRecipe, to_plain(recipe), "again") == recipe


def test_hash_depends_on_every_value():
    recipe = parse(RFCNRecipe, {"data": DATA}, "r.yaml")
    other = parse(RFCNRecipe, {"data": DATA, "optimizer": {"lr": 0.0031}}, "r.yaml")
    assert config_hash(recipe) == config_hash(parse(RFCNRecipe, {"data": DATA}, "s.yaml")) != config_hash(other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": DATA, "modle": {}}, r"r\.yaml: key 'modle'.*'model'.*data, task"),
        (
            {"data": DATA, "optimizer": {"speed": 1}},
            r"optimizer: key 'speed'.*steps, lr, momentum",
        ),
        ({"data": DATA, "model": {"proposals": {"kk": 1}}}, r"model\.proposals: key 'kk'.*seed"),
        ({"data": DATA, "model": {"source": "multbox"}}, r"model\.source 'multbox'.*'multibox'"),
        ({"data": DATA, "optimizer": {"steps": 0}}, r"optimizer\.steps: .*1"),
        ({"data": DATA, "optimizer": {"lr": "fast"}}, r"optimizer\.lr: .*number"),
        ({"data": {"train_split": "train"}}, r"data\.eval_split: .*required"),
        ([1, 2], r"r\.yaml: the top level: "),
        (None, r"r\.yaml: the top level: "),
    ],
)
def test_errors_name_the_field_in_one_line(values: object, message: str):
    with pytest.raises(InputError, match=message) as caught:
        parse(RFCNRecipe, values, "r.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"data: [", ""),
        (b"\xff\xfe\x00", ""),
        (b"!!python/name:os.system", ""),
        (b"task: ['rcnn']", "task "),
        (b"task: {'a': 1}", "task "),
        (b"task: segmentation", "task 'segmentation' is unknown; known are rfcn, rcnn"),
        (b"models: [voc07]", ".*--config"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"r\.yaml: {message}") as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_the_papers_system_is_as_published():
    config = parse(DetectorConfig, read_yaml(find_config("paper")), "paper.yaml")
    assert config.proposals.superpixel_scale == 2
    assert (config.context, config.head, config.box_regression) == (0, "softmax", False)


def test_an_optimizer_given_in_part_keeps_the_papers_decay():
    values = {"task": "classification", "optimizer": {"lr": 0.02}}
    optimizer = parse(ClassificationRecipe, values, "r.yaml").optimizer
    assert (optimizer.lr, optimizer.decay, optimizer.weight_decay, optimizer.warmup_steps) == (0.02, 0.96, 2e-4, 0)


def test_calibration_of_an_rcnn_is_per_head():
    with pytest.raises(InputError, match=r"calibration\.softmax"):
        parse(RCNNConfig, {"postprocess": {"calibration": [2.0, 1.0]}}, "m")


@pytest.mark.parametrize(
    ("kind", "field", "meant"),
    [
        (ModelConfig, "source", "multibox"),
        (CropConfig, "mode", "square"),
        (RCNNConfig, "head", "softmax"),
        (MultiBoxConfig, "form", "global"),
        (MultiBoxConfig, "coordinates", "corners"),
        (MultiBoxLossConfig, "matching", "predictions"),
    ],
)
def test_names_are_checked_in_constructors(kind: Any, field: str, meant: str):
    with pytest.raises(ValueError, match=f"{field} '{meant[:-1]}'.*'{meant}'"):
        kind(**{field: meant[:-1]})
