"""MultiBox as a detector's source of boxes, with networks of random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.config import MultiBoxModelConfig
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.pipeline import DetectionPipeline
from detector.inference.proposers import (
    SharedMultiBox,
    load_multibox,
    multibox_proposer,
    propose_ahead,
    sources,
    without_network,
)
from detector.models.rfcn import RFCN
from detector.models.weights import Model, make_network, save_model
from proposals import PRESETS, SelectiveSearch, UnionProposer
from proposals.multibox.proposer import MultiBoxProposer, to_proposals
from tests.detector.inference.random_models import HEAD, FixedBoxes, fill, noise, rfcn_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    return rfcn_model(multibox_boxes=20, source="multibox")


@pytest.fixture
def separate(tmp_path: Path) -> Path:
    """The file of a separate MultiBox network."""
    torch.manual_seed(1)
    config = MultiBoxModelConfig(size=64, head=HEAD)
    network = make_network(config, 0)
    fill(network.head)  # type: ignore[arg-type]
    save_model(Model(network, config, (), {"steps": 3}), tmp_path / "separate.safetensors")
    return tmp_path / "separate.safetensors"


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes of the backbone's passes so far."""
    sizes: list[int] = []
    features = RFCN.features

    def counted(self: RFCN, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return features(self, images)

    monkeypatch.setattr(RFCN, "features", counted)
    return sizes


@pytest.mark.parametrize("source", ["multibox", "both"])
def test_the_backbone_runs_once_for_proposals_and_regions(model: Model, passes: list[int], source: str):
    detector = DetectionPipeline(model, "cpu", source=source)  # type: ignore[arg-type]
    detector.detect(noise(), 0.0)
    assert passes == [1]


def test_shared_boxes_are_those_of_the_head_on_the_backbone(model: Model):
    detector, image = DetectionPipeline(model, "cpu"), noise()
    assert isinstance(detector.proposer, SharedMultiBox)
    (features,) = detector.encode(image)
    network = detector.scorers[0].network
    with torch.inference_mode():
        found = network.multibox(features.maps.features)
        expected = to_proposals(
            network.multibox.boxes(found.box_deltas)[0], found.logits[0], (90, 60), HEAD.nms_iou, 20
        )
    for proposals in (detector.propose(image, (features,)), detector.proposer(image.pixels)):
        assert np.array_equal(proposals.boxes, expected.boxes)
        assert np.array_equal(proposals.scores, expected.scores)
    assert 0 < len(expected) <= 20


def test_both_is_multibox_and_selective_search_with_doubled_superpixels(model: Model):
    detector = DetectionPipeline(model, "cpu", source="both")
    assert isinstance(detector.proposer, UnionProposer)
    first, second = detector.proposer.proposers
    assert isinstance(first, SharedMultiBox)
    assert isinstance(second, SelectiveSearch)
    assert second.config == replace(model.config.proposals, superpixel_scale=2)
    image = noise((200, 150))
    found = detector.propose(image, detector.encode(image))
    assert np.array_equal(found.boxes, detector.proposer(image.pixels).boxes)
    names = {found.source_names[i] for i in found.sources}
    assert "multibox" in names
    assert len(names) > 1
    few = replace(model, config=replace(model.config, union_boxes=15))
    detector = DetectionPipeline(few, "cpu", source="both")
    limited = detector.propose(image, detector.encode(image))
    assert np.array_equal(limited.boxes, found.boxes[:15])


@pytest.mark.parametrize("source", ["multibox", "both"])
def test_boxes_that_all_lie_outside_the_image(model: Model, source: str):
    outside = replace(model, network=make_network(model.config, 2))
    head = outside.network.multibox
    head.load_state_dict(model.network.multibox.state_dict())  # type: ignore[union-attr]
    head.set_priors(torch.tensor([[0.0, 0, 1e-6, 1e-6]]).expand(HEAD.boxes, 4).clone())  # type: ignore[union-attr]
    detector, image = DetectionPipeline(outside, "cpu", source=source), noise()  # type: ignore[arg-type]
    multibox = detector.proposer.proposers[0] if isinstance(detector.proposer, UnionProposer) else detector.proposer
    assert len(multibox(image.pixels)) == 0
    detections = detector.detect(image, 0.0)
    assert len(detections) == 0 if source == "multibox" else len(detections) > 0


def test_sources_of_nested_unions(separate: Path):
    first, second, multibox = FixedBoxes(), FixedBoxes(), load_multibox(separate, 5, CPU)
    union = UnionProposer([multibox, UnionProposer([first, second])])
    assert sources(union) == [multibox, first, second]
    assert without_network(union) is first
    assert set(propose_ahead(union, noise())) == {id(first), id(second)}
    assert sources(multibox) == [multibox]
    assert without_network(multibox) is None


def test_a_model_without_multibox():
    with pytest.raises(InputError, match="no model here has a MultiBox head; take boxes from selective_search"):
        load_pipeline("voc07_crops", "cpu", source="both")
    with pytest.raises(InputError, match="a model for crops; one for regions or multibox is needed here"):
        multibox_proposer("voc07_crops", 10)


def test_multibox_of_either_kind_of_file(model: Model, separate: Path, tmp_path: Path):
    save_model(model, tmp_path / "m.safetensors")
    shared, alone = load_multibox(tmp_path / "m.safetensors", 7, CPU), load_multibox(separate, 7, CPU)
    assert isinstance(shared, SharedMultiBox)
    assert isinstance(alone, MultiBoxProposer)
    for proposer in (shared, alone):
        assert 0 < len(proposer(noise().pixels)) <= 7
    assert shared.fingerprint != alone.fingerprint
    assert load_multibox(separate, 8, CPU).fingerprint != alone.fingerprint


def test_a_union_of_a_preset(separate: Path):
    union = multibox_proposer(separate, 5, "single", seed=3, device="cpu")
    assert isinstance(union, UnionProposer)
    second = union.proposers[1]
    assert isinstance(second, SelectiveSearch)
    assert second.config == replace(PRESETS["single"], superpixel_scale=2, seed=3)
    with pytest.raises(ValueError, match="preset 'slow' is unknown"):
        multibox_proposer(separate, 5, "slow")


@pytest.mark.parametrize("given", ["models", "multibox_model"])
def test_a_configuration_with_multibox(model: Model, separate: Path, tmp_path: Path, given: str, passes: list[int]):
    save_model(model, tmp_path / "m.safetensors")
    text = "models: [m.safetensors]\nmultibox: 6\nproposals: {superpixel_scale: 4}\n"
    text += "multibox_model: separate.safetensors\n" if given == "multibox_model" else ""
    (tmp_path / "d.yaml").write_text(text)
    detector = load_pipeline(config=tmp_path / "d.yaml", device="cpu")
    image = noise()
    found = detector.propose(image, detector.encode(image))
    names = [found.source_names[i] for i in found.sources]
    assert 0 < names.count("multibox") <= 6
    assert len(passes) == 1
    (tmp_path / "d.yaml").write_text(text.replace("{superpixel_scale: 4}", "null"))
    alone = load_pipeline(config=tmp_path / "d.yaml", device="cpu").proposer(image.pixels)
    assert alone.source_names == ("multibox",)
