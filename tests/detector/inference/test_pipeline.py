"""The detector and its arguments, with a network of random weights."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from detector.errors import InputError
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import Model
from tests.detector.inference.random_models import FixedBoxes, noise, rfcn_model


@pytest.fixture(scope="module")
def model() -> Model:
    return rfcn_model()


def test_proposals_come_from_the_given_proposer_and_nothing_leaves_the_image(model: Model):
    found = DetectionPipeline(model, "cpu", FixedBoxes()).detect(noise(), 0.0)
    assert found.class_names == ("cat", "dog")
    assert found.image_size == (90, 60)
    assert 2 <= len(found) <= 4  # two regions of two classes, before NMS
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= (90, 60)).all()


def test_the_given_model_stays_unchanged(model: Model):
    before = model.network.score_conv.weight.clone()
    detector = DetectionPipeline(model, "cpu", FixedBoxes())
    with torch.no_grad():
        detector.scorers[0].network.score_conv.weight.zero_()
    assert torch.equal(model.network.score_conv.weight, before)
    assert model.network.score_conv.weight.dtype == torch.float32


@pytest.mark.parametrize("score", [-0.1, 1.1, None, "0.5"])
def test_a_wrong_score(model: Model, score: Any):
    with pytest.raises(InputError, match=r"score .* is not a number in 0\.\.1"):
        DetectionPipeline(model, "cpu", FixedBoxes()).detect(noise(), score)


def test_an_unknown_source(model: Model):
    with pytest.raises(InputError, match=r"source 'Both' is unknown; .* are selective_search, multibox, both"):
        DetectionPipeline(model, "cpu", source="Both")  # type: ignore[arg-type]


def test_detections_have_the_category_ids_of_the_labels(model: Model):
    recorded = replace(model, class_ids=(90, 3))
    for models, ids in ((model, (17, 18)), (recorded, (90, 3)), ([model, recorded], (90, 3))):
        found = DetectionPipeline(models, "cpu", FixedBoxes()).detect(noise(), 0.0)
        assert {one["label"]: one["category_id"] for one in found.to_dict()} == dict(
            zip(("cat", "dog"), ids, strict=True)
        )
        assert {one["category_id"] for one in found.to_coco(1)} == set(ids)
    with pytest.raises(InputError, match="category ids"):
        DetectionPipeline([recorded, replace(model, class_ids=(3, 90))], "cpu", FixedBoxes())


def test_the_number_format_can_be_given(model: Model):
    formats = [DetectionPipeline(model, "cpu", FixedBoxes(), precision=name) for name in ("bfloat16", "float32")]
    assert [one.precision for one in formats] == ["bfloat16", "float32"]
    assert len({one.fingerprint for one in formats}) == 2
    with pytest.raises(InputError, match="float64"):
        DetectionPipeline(model, "cpu", precision="float64")
    with pytest.raises(InputError, match=r"'bfloat61'.*mean 'bfloat16'"):
        DetectionPipeline(model, "cpu", precision="bfloat61")


@pytest.mark.parametrize("changed", [{"class_names": ("cat", "fox")}, {"class_ids": (3, 4)}])
def test_the_fingerprint_changes_with_the_classes(model: Model, changed: dict):
    models = (model, replace(model, **changed))
    assert len({DetectionPipeline(one, "cpu", FixedBoxes(), precision="float32").fingerprint for one in models}) == 2


def test_replace_changes_a_copy(model: Model):
    detector = DetectionPipeline(model, "cpu", FixedBoxes(), precision="float32")
    limited = detector.replace(postprocess=replace(detector.postprocess, max_detections=1), box_regression=False)
    halves = {tuple(box) for box in FixedBoxes()(noise().pixels).boxes.tolist()}
    assert len(found := limited.detect(noise(), 0.0)) == 1
    assert {tuple(box) for box in found.boxes.tolist()} <= halves
    assert len(detector.detect(noise(), 0.0)) > 1
    assert limited.scorers is detector.scorers
    assert limited.fingerprint != detector.fingerprint
    assert detector.replace(proposer=FixedBoxes(np.zeros((0, 4)))).detect(noise(), 0.0).boxes.shape == (0, 4)
