"""New classes beside those of the starting model, which stays as it is."""

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.config import ModelConfig
from detector.data.custom_dataset import CustomDataset
from detector.inference.pipeline import DetectionPipeline
from detector.models.rfcn import RFCN
from detector.models.weights import Model, load_model, save_model
from detector.training.budget import Budget
from detector.training.custom_dataset import fit
from detector.training.custom_dataset.split import Split, add_unlabeled, keep_classes
from detector.training.custom_dataset.task import CustomDatasetTask
from detector.training.data import ProposedImages
from detector.training.photos import PhotoSet
from detector.training.recipes import RFCNDataConfig, RFCNRecipe
from detector.training.tasks.rfcn import detect_proposed

BUS, ROBOT = (0, (10, 10, 60, 60)), (1, (60, 30, 110, 80))
PHOTOS = [[ROBOT], [BUS, ROBOT], [ROBOT], [], [ROBOT], [BUS]]


def kept_split(data: CustomDataset, start: Model) -> Split:
    photos = PhotoSet(data.samples, data.class_names, data.class_ids)
    return keep_classes(Split(photos, photos), start)


def test_new_classes_follow_the_model_s(custom_dataset: Callable[..., CustomDataset], start: Model):
    """The model's bus is known to the data, its sofa is not; category ids stay unless they are taken."""
    data = dataclasses.replace(custom_dataset(PHOTOS, ["Bus", "robot"]), class_ids=(4, 7))
    train = kept_split(data, dataclasses.replace(start, class_ids=(1, 7))).train
    assert train.class_names == ("bus", "sofa", "robot")
    assert train.class_ids == (1, 7, 2)
    assert [s.annotations.labels.tolist() for s in train.samples] == [[2], [0, 2], [2], [], [2], [0]]
    assert {s.annotations.unlabeled for s in train.samples} == {frozenset([1])}
    without_labels = add_unlabeled(Split(train, train), data.of_classes(["robot"])).unlabeled
    assert without_labels is not None
    assert without_labels.class_names == train.class_names
    assert {s.annotations.unlabeled for s in without_labels.samples} == {frozenset([1])}


def test_only_the_score_maps_of_the_new_classes_learn(
    custom_dataset: Callable[..., CustomDataset], start: Model, tmp_path: Path
):
    photos = kept_split(custom_dataset(PHOTOS, ["bus", "robot"]), start).train
    images = ProposedImages(photos, start.config.proposals, tmp_path)
    task = CustomDatasetTask(RFCNRecipe(RFCNDataConfig("a", "b"), model=start.config), start, images, images, Budget())
    task.initialize(None)
    task.backward(task.network, task.example(0), nullcontext())
    for parameter in task.network.score_conv.parameters():
        assert parameter.grad is not None
        moved = parameter.grad.view(49, 8, -1).abs().amax(dim=(0, 2)) > 0  # background, bus, sofa, robot; box deltas
        assert moved.tolist() == [False, True, False, True, False, False, False, False]


def test_detections_of_classes_that_a_photo_is_not_annotated_for_are_neither_right_nor_wrong(
    custom_dataset: Callable[..., CustomDataset], start: Model, tmp_path: Path
):
    data = custom_dataset(PHOTOS[:2], ["bus", "sofa"])
    partly = [
        dataclasses.replace(s, annotations=dataclasses.replace(s.annotations, unlabeled=frozenset([1])))
        for s in data.samples
    ]
    found = []
    for samples in (data.samples, tuple(partly)):
        images = ProposedImages(PhotoSet(samples, data.class_names), start.config.proposals, tmp_path)
        found.append(detect_proposed(DetectionPipeline(start, "cpu"), images, 2)[1])
    everything, known = found
    assert {0, 1} == set(everything.labels.tolist())
    np.testing.assert_array_equal(known.scores, everything.scores[everything.labels == 0])


def test_the_shared_weights_stay(custom_dataset: Callable[..., CustomDataset], start_file: Path, tmp_path: Path):
    data = custom_dataset([[ROBOT], [], [ROBOT], [ROBOT]], ["none", "robot"])
    result = fit(data, tmp_path / "run", keep=True, epochs=2, init=start_file, cache=tmp_path / "cache", device="cpu")
    before, after = load_model(start_file), load_model(result.model)
    assert after.class_names == ("bus", "sofa", "robot")
    assert [name for name, c in result.result.classes.items() if c.objects] == ["robot"]
    assert isinstance(before.network, RFCN)
    assert isinstance(after.network, RFCN)
    scores, deltas = after.network.split_maps(after.network.score_conv.weight, dim=0)
    old_scores, old_deltas = before.network.split_maps(before.network.score_conv.weight, dim=0)
    torch.testing.assert_close(scores[:, :3], old_scores, rtol=0, atol=0)
    torch.testing.assert_close(deltas, old_deltas, rtol=0, atol=0)
    biases, _ = after.network.split_maps(after.network.score_conv.get_parameter("bias"), dim=0)
    assert (biases[:, 3] < biases[:, 1:3].mean(dim=1) - 1).all()  # new classes are rarer than in the photos
    for name, tensor in before.network.backbone.state_dict().items():
        torch.testing.assert_close(after.network.backbone.state_dict()[name], tensor, rtol=0, atol=0)


def test_the_classes_that_are_kept_keep_their_calibration(
    custom_dataset: Callable[..., CustomDataset], start: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The second time the model has two classes of the first start and one of the first training."""
    monkeypatch.setattr("detector.training.custom_dataset.finetuning._MIN_CALIBRATION", 0)
    fitted = iter([(2.0, -1.0), (3.0, -2.0)])
    monkeypatch.setattr(
        "detector.training.custom_dataset.finetuning.fit_calibration", lambda result, before: next(fitted)
    )
    model = tmp_path / "start.safetensors"
    save_model(start, model)
    names = ["none", "robot"]
    for name in ("robot", "probe"):
        data = custom_dataset([[ROBOT], [], [ROBOT], [ROBOT]], [names[0], name])
        model = fit(
            data, tmp_path / name, keep=True, epochs=1, init=model, cache=tmp_path / "cache", device="cpu"
        ).model
    config = load_model(model).config
    assert isinstance(config, ModelConfig)
    first = config.postprocess.calibration
    assert config.postprocess.class_calibrations == (first, first, (2.0, -1.0), (3.0, -2.0))
