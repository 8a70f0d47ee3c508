"""Detectors put together by a configuration, on models whose backbone is one convolution."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detector.config import (
    CONFIG_FOLDER,
    CropConfig,
    CropNetworkConfig,
    DetectorConfig,
    PostprocessConfig,
    RCNNConfig,
    parse,
)
from detector.data.voc import VOC_CLASSES
from detector.errors import InputError
from detector.inference.assembly import assemble, load_pipeline
from detector.inference.rcnn_scorer import RCNNScorer
from detector.inference.rfcn_scorer import RFCNScorer
from detector.models.files import DEFAULT_MODEL
from detector.models.rcnn import RCNN
from detector.models.weights import Model, save_model
from detector.structures.image import read_image
from detector.structures.region_scores import average_scores
from proposals import SelectiveSearch, SelectiveSearchConfig
from tests.detector.inference.random_models import FixedBoxes, noise

pytestmark = pytest.mark.usefixtures("tiny_backbone")

CAT = Path(__file__).parents[2] / "photos/cat.jpg"
BOXES = np.array([(5, 5, 40, 30), (20, 10, 60, 45), (0, 0, 25, 45)], np.float32)


def crop_model(path: Path, seed: int = 0, classes: tuple[str, ...] = ("cat", "dog"), **changes: object) -> Path:
    """A model file of random weights."""
    torch.manual_seed(seed)
    config = RCNNConfig(CropConfig(size=32, context=8), network=CropNetworkConfig(box_bins=1), **changes)
    network = RCNN(len(classes), config.network).requires_grad_(False)
    nn.init.normal_(network.classifier.weight)
    for name in ("svm_weight", "svm_bias", "box_weight", "box_bias"):
        getattr(network, name).normal_(0, 0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(Model(network, config, classes, {}), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the model file models/a.safetensors."""
    crop_model(tmp_path / "models/a.safetensors")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "detector.yaml"
    path.write_text(text)
    return path


def test_models_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch):
    path = written(folder, "models: [models/a.safetensors]")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    for given in (path, str(path), Path("../detector.yaml")):
        detector = load_pipeline(config=given, device="cpu")
        assert detector.class_names == ("cat", "dog")
        assert isinstance(detector.scorers[0], RCNNScorer)


def test_an_absolute_path_to_a_model(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    path = written(tmp_path_factory.mktemp("other"), f"models: [{folder / 'models/a.safetensors'}]")
    assert load_pipeline(config=path, device="cpu").class_names == ("cat", "dog")


def test_an_installed_model_by_name_beside_a_file(folder: Path):
    crop_model(folder / "twenty.safetensors", classes=VOC_CLASSES)
    detector = load_pipeline(config=written(folder, "models: [voc07, twenty.safetensors]\ncontext: 2"), device="cpu")
    assert [type(scorer) for scorer in detector.scorers] == [RFCNScorer, RCNNScorer]
    assert detector.class_names == VOC_CLASSES
    assert detector.scorers[1].config.crops.context == 2
    assert len(detector.replace(proposer=FixedBoxes(BOXES)).detect(noise((60, 45), 1), 0.0)) > 0


@pytest.mark.parametrize("config", [None, "models: [voc07]"])
def test_a_folder_of_the_name_does_not_hide_an_installed_model(
    tmp_path: Path, config: str | None, monkeypatch: pytest.MonkeyPatch
):
    """Such as runs/voc07, where the model was trained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voc07").mkdir()
    if config is None:
        detector = load_pipeline("voc07", device="cpu")
    else:
        detector = load_pipeline(config=written(tmp_path, config), device="cpu")
    assert detector.class_names == VOC_CLASSES


def test_settings_left_out_keep_their_trained_values(folder: Path):
    crop_model(folder / "svm.safetensors", head="svm")
    detector = load_pipeline(config=written(folder, "models: [models/a.safetensors, svm.safetensors]"), device="cpu")
    assert [scorer.config.head for scorer in detector.scorers] == ["softmax", "svm"]
    assert [scorer.config.crops for scorer in detector.scorers] == [CropConfig(size=32, context=8)] * 2
    assert detector.box_regression
    assert detector.postprocess == PostprocessConfig()


@pytest.mark.parametrize(("context", "head"), [(0, "svm"), (3, "softmax")])
def test_context_and_head_reach_every_scorer(folder: Path, context: int, head: str):
    """Scores are those of models that were saved with these settings."""
    crop_model(folder / "b.safetensors", seed=1, head="svm")
    text = f"models: [models/a.safetensors, b.safetensors]\ncontext: {context}\nhead: {head}"
    detector = load_pipeline(config=written(folder, text), device="cpu")
    for scorer, plain in zip(detector.scorers, ("models/a.safetensors", "b.safetensors"), strict=True):
        trained = load_pipeline(folder / plain, "cpu").scorers[0]
        changed = replace(trained.config, crops=replace(trained.config.crops, context=context), head=head)
        assert scorer.config == changed
        before = trained.encode(noise((60, 45), 1)).score(torch.from_numpy(BOXES)).scores
        trained.config = changed
        after = trained.encode(noise((60, 45), 1)).score(torch.from_numpy(BOXES)).scores
        torch.testing.assert_close(scorer.encode(noise((60, 45), 1)).score(torch.from_numpy(BOXES)).scores, after)
        assert not torch.allclose(before, after)


def test_without_box_regression_boxes_stay_as_proposed(folder: Path):
    found = {}
    for wanted in ("true", "false"):
        text = f"models: [models/a.safetensors]\nbox_regression: {wanted}\nnms_iou: 1.0"
        detector = load_pipeline(config=written(folder, text), device="cpu")
        found[wanted] = detector.replace(proposer=FixedBoxes(BOXES)).detect(noise((60, 45), 1), 0.0)
    proposed = {tuple(box) for box in BOXES.tolist()}
    assert {tuple(box) for box in found["false"].boxes.tolist()} == proposed
    assert len(found["false"]) == 6
    assert not {tuple(box) for box in found["true"].boxes.tolist()} & proposed
    assert sorted(found["true"].scores) == sorted(found["false"].scores)[-len(found["true"]) :]


def test_proposals_and_suppression_are_those_of_the_configuration(folder: Path):
    text = "models: [models/a.safetensors]\nproposals: {superpixel_scale: 2}\nnms_iou: 0.45\nmax_detections: 7"
    detector = load_pipeline(config=written(folder, text), device="cpu")
    assert detector.proposer.fingerprint == SelectiveSearch(SelectiveSearchConfig(superpixel_scale=2)).fingerprint
    assert detector.postprocess == PostprocessConfig(nms_iou=0.45, max_detections=7)


def test_models_are_averaged(folder: Path):
    crop_model(folder / "b.safetensors", seed=1)
    names = ("models/a.safetensors", "b.safetensors")
    path = written(folder, f"models: [{', '.join(names)}]\nnms_iou: 1.0\nbox_regression: false")
    detector = load_pipeline(config=path, device="cpu").replace(proposer=FixedBoxes(BOXES))
    scorers = [load_pipeline(folder / name, "cpu").scorers[0] for name in names]
    alone = [scorer.encode(noise((60, 45), 1)).score(torch.from_numpy(BOXES)) for scorer in scorers]
    expected = (alone[0].scores + alone[1].scores) / 2
    assert detector.detect(noise((60, 45), 1), 0.0).scores.tolist() == pytest.approx(
        expected.flatten().sort(descending=True).values.tolist(), abs=1e-5
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [models/a.safetensors]\nmultibox: 200", "multibox: no model here has a MultiBox head"),
        ("models: [models/a.safetensors]\nmodel: x", "key 'model' is unknown; do you mean 'models'"),
        ("models: [models/a.safetensors]\nproposals: {k: 1}", r"proposals: key 'k' is unknown; .* color_spaces"),
        ("models: [models/a.safetensors]\nproposals: null", "without proposals of Selective Search, multibox must be"),
        ("models: [voc07]\nhead: svm", "head and context apply only to R-CNN"),
        ("models: [voc07]\ncontext: 0", "head and context apply only to R-CNN"),
        ("models: [models/a.safetensors]\nhead: linear", "head 'linear' is unknown; known are softmax, svm, both"),
        ("models: [models/a.safetensors]\ncontext: -1", "context: input should be greater"),
        ("models: [models/a.safetensors]\ncontext: 16", "context 16 on both sides leaves nothing of a crop of 32"),
        ("models: [models/a.safetensors]\nnms_iou: 2", "nms_iou: input should be less"),
        ("models: [voc07]\ntest_scales: []", "test_scales must name at least one, and each once"),
        ("models: [voc07]\ntest_scales: [480, 480]", "test_scales must name at least one, and each once"),
        ("models: [voc07]\ntest_scales: [100000]", "test_scales.0: input should be less than or equal to 2048"),
        ("models: [models/a.safetensors]\nflip_test: true", "test_scales and flip_test apply only to R-FCN"),
        ("models: []", "models must name at least one"),
        ("nms_iou: 0.5", "models: field required"),
        ("models: voc07", "models: "),
        ("", "the top level"),
        ("models: [", "not a readable YAML file"),
    ],
)
def test_wrong_configurations_are_one_line_that_names_the_file(folder: Path, text: str, message: str):
    path = written(folder, text)
    with pytest.raises(InputError, match=message) as caught:
        load_pipeline(config=path, device="cpu")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such model file"), (b"not safetensors", "not a readable model file")]
)
def test_models_that_cannot_be_used_are_named(folder: Path, content: bytes | None, message: str):
    if content is not None:
        (folder / "b.safetensors").write_bytes(content)
    path = written(folder, "models: [models/a.safetensors, b.safetensors]")
    with pytest.raises(InputError, match=message) as caught:
        load_pipeline(config=path, device="cpu")
    assert str(folder / "b.safetensors") in str(caught.value)


def test_models_of_different_classes_are_refused(folder: Path):
    crop_model(folder / "b.safetensors", classes=("dog", "cat"))
    path = written(folder, "models: [models/a.safetensors, b.safetensors]")
    with pytest.raises(InputError, match="the same classes in the same order"):
        load_pipeline(config=path, device="cpu")


def test_a_missing_file_points_at_the_configurations(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.yaml: .*best.*paper"):
        load_pipeline(config=tmp_path / "none.yaml", device="cpu")


def test_a_model_and_a_configuration_together_are_refused(folder: Path):
    with pytest.raises(InputError, match="a model or a configuration"):
        load_pipeline("voc07", "cpu", config=written(folder, "models: [voc07]"))


def test_a_flipped_scorer_on_a_flipped_image_scores_as_on_the_image(folder: Path):
    detector = load_pipeline(config=written(folder, "models: [voc07]\nflip_test: true"), device="cpu")
    plain, flipped = detector.scorers
    image = read_image(CAT)
    mirrored = replace(image, pixels=np.ascontiguousarray(image.pixels[:, ::-1]))
    boxes = torch.tensor([[12.0, 8, 428, 296], [100, 50, 300, 200]])
    x1, y1, x2, y2 = boxes.unbind(1)
    expected = plain.encode(image).score(boxes)
    found = flipped.encode(mirrored).score(torch.stack((image.width - x2, y1, image.width - x1, y2), dim=1))
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=0.02)  # resizing is not quite symmetric
    signs = torch.tensor([-1.0, 1, 1, 1])
    torch.testing.assert_close(found.box_deltas * signs, expected.box_deltas, rtol=0, atol=0.2)


def test_scales_and_flips_are_averaged(folder: Path):
    text = "models: [voc07]\nproposals: {}\ntest_scales: [256, 320]\nflip_test: true\n"
    detector = load_pipeline(config=written(folder, text), device="cpu")
    inputs = [(scorer.config.input.short_side, scorer.flipped) for scorer in detector.scorers]
    assert inputs == [(256, False), (320, False), (256, True), (320, True)]
    assert detector.scorers[0].config.input.long_side == round(1071 * 256 / 480)
    image = read_image(CAT)
    features = detector.encode(image)
    proposals = detector.propose(image, features)
    expected = average_scores([one.score(torch.from_numpy(np.array(proposals.boxes))) for one in features])
    torch.testing.assert_close(detector.score(features, proposals).scores, expected.scores)


def test_the_papers_configuration_is_valid_but_for_its_model(tmp_path: Path):
    """Its settings do not need its model: here with another one."""
    paper = (CONFIG_FOLDER / "paper.yaml").read_text()
    shutil.copy(crop_model(tmp_path / "x.safetensors"), tmp_path / "y.safetensors")
    text = re.sub(r"(?m)^models: .*$", "models: [x.safetensors, y.safetensors]", paper)
    detector = load_pipeline(config=written(tmp_path, text), device="cpu")
    assert len(detector.scorers) == 2
    assert {scorer.config.crops.context for scorer in detector.scorers} == {0}
    assert not detector.box_regression


def test_assemble_takes_a_configuration_made_in_python(folder: Path):
    config = DetectorConfig(models=("models/a.safetensors",), head="svm")
    assert assemble(config, folder / "unwritten.yaml", "cpu").scorers[0].config.head == "svm"
    assert parse(DetectorConfig, {"models": ["models/a.safetensors"], "head": "svm"}, "x") == config


def test_without_a_configuration_it_is_the_default_model():
    assert load_pipeline(device="cpu").class_names == load_pipeline(DEFAULT_MODEL, "cpu").class_names == VOC_CLASSES
