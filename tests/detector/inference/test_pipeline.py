"""The detector and its arguments, with a network of random weights."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from detector.errors import InputError
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import Model
from detector.ops.devices import resolve_device
from detector.ops.precision import fast_dtype
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


def test_a_list_gives_a_list_in_order(model: Model):
    results = DetectionPipeline(model, "cpu", FixedBoxes()).detect_batch([noise((90, 60)), noise((70, 80))], 0.0)
    assert [r.image_size for r in results] == [(90, 60), (70, 80)]


def test_the_given_model_stays_unchanged(model: Model):
    before = model.network.score_conv.weight.clone()
    detector = DetectionPipeline(model, "cpu", FixedBoxes())
    with torch.no_grad():
        detector.scorers[0].network.score_conv.weight.zero_()
    assert torch.equal(model.network.score_conv.weight, before)
    assert model.network.score_conv.weight.dtype == torch.float32


def test_number_format_changes_scores_only_a_little(model: Model):
    """bfloat16 has 8 bits of precision; class probabilities near 1/3 may move by about a hundredth."""
    exact, coarse = (
        DetectionPipeline(model, "cpu", FixedBoxes(), precision=name).detect(noise(), 0.0)
        for name in ("float32", "bfloat16")
    )
    assert len(exact) == len(coarse)
    np.testing.assert_allclose(np.sort(exact.scores), np.sort(coarse.scores), atol=0.02)


@pytest.mark.parametrize("score", [-0.1, 1.1, None, "0.5"])
def test_a_wrong_score(model: Model, score: Any):
    with pytest.raises(InputError, match=r"score .* is not a number in 0\.\.1"):
        DetectionPipeline(model, "cpu", FixedBoxes()).detect(noise(), score)


@pytest.mark.parametrize("source", ["slective_search", "Both", 1])
def test_an_unknown_source(model: Model, source: Any):
    with pytest.raises(InputError, match=f"source {source!r} is unknown; .* are selective_search, multibox, both"):
        DetectionPipeline(model, "cpu", source=source)


def test_devices():
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for unknown in ("gpu", "meta", "cuda:x", torch.device("meta"), None):
        with pytest.raises(InputError, match=f"device '{unknown}' is unknown") as caught:
            resolve_device(unknown)
        assert "mean 'cpu'" not in str(caught.value)
    for misspelled, device in (("cup", "cpu"), ("cdua", "cuda"), ("atuo", "auto")):
        with pytest.raises(InputError, match=f"'{misspelled}'.*'{device}'"):
            resolve_device(misspelled)
    with pytest.raises(InputError, match="device 'cuda:99': PyTorch finds"):
        resolve_device("cuda:99")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu():
    with pytest.raises(InputError, match="finds no CUDA GPU"):
        resolve_device("cuda")


def test_number_format_is_measured_once():
    assert fast_dtype("cpu") in (torch.float32, torch.bfloat16)
    assert fast_dtype("cpu") == fast_dtype("cpu")


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
