"""Regions of a detector that a classifier names, on networks of random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.api import load_detector
from detector.config import ClassifierConfig, ModelConfig, PostprocessConfig
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.class_transfer import ClassifierScorer
from detector.inference.pipeline import DetectionPipeline
from detector.models.classifier import ImageClassifier
from detector.models.weights import Model, save_model
from tests.detector.inference.random_models import FixedBoxes, noise, rcnn_model, rfcn_model

IMAGENET = ("n00000001 tabby, tabby cat", "n00000002 Siamese cat", "n00000003 fox", "n00000004 mug")
LIST = "n00000009\tcat\tn00000001,n00000002\nn00000003\nn00000004\tcup\n"
BOXES = np.array([(5, 5, 40, 30), (20, 10, 60, 45), (0, 0, 90, 60)], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    regions = rfcn_model()  # of cat and dog
    assert isinstance(regions.config, ModelConfig)
    calibrated = replace(regions.config, postprocess=PostprocessConfig(calibration=(0.8, 0.5)))
    save_model(replace(regions, config=calibrated), folder / "regions.safetensors")
    torch.manual_seed(1)
    network = ImageClassifier(4).eval()
    torch.nn.init.normal_(network.classifier.weight, std=1.5)
    save_model(Model(network, ClassifierConfig(), IMAGENET, {}), folder / "imagenet.safetensors")
    (folder / "map.tsv").write_text(LIST)
    return folder


def load(folder: Path, **settings: object) -> DetectionPipeline:
    lines = "".join(f"  {name}: {value}\n" for name, value in settings.items())
    path = folder / "detector.yaml"
    path.write_text(f"models: [regions.safetensors]\nclassifier:\n  model: imagenet.safetensors\n{lines}multibox: 5\n")
    return load_pipeline(path, "cpu", precision="float32")


def scores_of(detector: DetectionPipeline) -> torch.Tensor:
    proposals = FixedBoxes(BOXES)(noise().pixels)
    return detector.score(detector.encode(noise()), proposals).scores


def test_a_score_is_the_class_probability_times_the_objectness(folder: Path):
    regions = load_pipeline(folder / "regions.safetensors", "cpu", precision="float32")
    objectness = ((scores_of(regions).logit() - 0.5) / 0.8).sigmoid().sum(dim=1)
    detector = load(folder, short_side=64)
    assert detector.class_names == ("tabby", "Siamese cat", "fox", "mug")
    assert detector.class_ids == tuple(name[:9] for name in IMAGENET)
    scores = scores_of(detector)
    assert scores.min() > 0.01
    torch.testing.assert_close(scores.sum(dim=1), objectness, rtol=0, atol=1e-4)
    calibrated = scores_of(load(folder, short_side=64, calibration="[0.5, -1]"))
    torch.testing.assert_close(calibrated, (0.5 * scores.logit() - 1).sigmoid(), rtol=0, atol=1e-4)


def test_the_photo_ranks_the_classes_and_the_regions_place_them(folder: Path):
    alone = scores_of(load(folder, short_side=64, objectness_power=2.0))
    scores = scores_of(load(folder, short_side=64, objectness_power=2.0, photo_side=64))
    photo = scores.amax(dim=0)
    assert float(photo.sum()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(scores, photo * alone / alone.amax(dim=0), rtol=1e-3, atol=1e-4)
    once = scores_of(load(folder, short_side=64))
    names = once / once.sum(dim=1, keepdim=True)
    torch.testing.assert_close(alone, names * once.sum(dim=1, keepdim=True) ** 2, rtol=0, atol=1e-4)


def test_a_class_that_the_classifier_cannot_name_is_no_object(folder: Path):
    regions = scores_of(load_pipeline(folder / "regions.safetensors", "cpu", precision="float32"))
    dog = ((regions[:, 1].logit() - 0.5) / 0.8).sigmoid()
    scores = scores_of(load(folder, short_side=64, unnamed="[cat]"))
    torch.testing.assert_close(scores.sum(dim=1), dog, rtol=0, atol=1e-4)
    with pytest.raises(InputError, match=r"detector\.yaml: unnamed.*cow"):
        load(folder, unnamed="[cow]")


def test_classes_of_a_file_are_sums_and_those_of_the_detector_keep_its_scores(folder: Path):
    every = scores_of(load(folder, short_side=64))
    listed = load(folder, short_side=64, classes="map.tsv", own_scores="false")
    assert listed.class_names == ("cat", "fox", "cup")
    assert listed.class_ids == ("n00000009", "n00000003", "n00000004")
    summed = torch.stack((every[:, :2].sum(dim=1), every[:, 2], every[:, 3]), dim=1)
    torch.testing.assert_close(scores_of(listed), summed, rtol=0, atol=1e-4)
    own = scores_of(load(folder, short_side=64, classes="map.tsv"))
    regions = scores_of(load_pipeline(folder / "regions.safetensors", "cpu", precision="float32"))
    torch.testing.assert_close(own, torch.cat((regions[:, :1], summed[:, 1:]), dim=1), rtol=0, atol=1e-4)


def test_detections_in_photos_one_by_one_and_in_batches(folder: Path):
    detector = load(folder, short_side=64).with_settings(size=96)
    assert isinstance(detector.scorers[1], ClassifierScorer)
    images = [noise(seed=0), noise((120, 80), seed=1)]
    single = [detector.detect(image, 0.001) for image in images]
    assert all(found.class_names == detector.class_names and len(found) for found in single)
    for alone, batched in zip(single, detector.detect_batch(images, 0.001), strict=True):
        assert alone.labels.tolist() == batched.labels.tolist()
    assert single[0].to_dict()[0]["synset"].startswith("n0000000")
    assert detector.fingerprint != load(folder, short_side=64).fingerprint


def test_a_class_by_another_word_for_it(folder: Path):
    load(folder, short_side=64)
    detector = load_detector(folder / "detector.yaml", "cpu", dtype="float32")
    found = detector(noise().pixels, channels="RGB", score=0.001, classes=["Tabby cat", "n00000004"])
    assert {detection.label for detection in found} == {"tabby", "mug"}


def test_models_on_crops_are_refused(folder: Path):
    save_model(rcnn_model(), folder / "crops.safetensors")
    (folder / "crops.yaml").write_text("models: [crops.safetensors]\nclassifier: {model: imagenet.safetensors}\n")
    with pytest.raises(InputError, match=r"crops\.yaml: classifier"):
        load_pipeline(config=folder / "crops.yaml", device="cpu")
