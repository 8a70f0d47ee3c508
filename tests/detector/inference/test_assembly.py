"""Detectors put together by a configuration, on models whose backbone is one convolution."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.data.voc import VOC_CLASSES
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.rcnn_scorer import RCNNScorer
from detector.inference.rfcn_scorer import RFCNScorer
from detector.models.files import DEFAULT_MODEL
from detector.models.weights import save_model
from detector.structures.image import read_image
from detector.structures.region_scores import average_scores
from tests.detector.inference.random_models import RCNN_CONFIG, FixedBoxes, noise, rcnn_model

pytestmark = pytest.mark.usefixtures("tiny_backbone")

CAT = Path(__file__).parents[2] / "photos/cat.jpg"
BOXES = np.array([(5, 5, 40, 30), (20, 10, 60, 45), (0, 0, 25, 45)], np.float32)


def crop_model(path: Path, seed: int = 0, classes: tuple[str, ...] = ("cat", "dog"), **changes: object) -> Path:
    """A model file of random weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(rcnn_model(seed, replace(RCNN_CONFIG, **changes), classes), path)  # type: ignore[arg-type]
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
    given = {"model": "voc07"} if config is None else {"config": written(tmp_path, config)}
    assert load_pipeline(device="cpu", **given).class_names == VOC_CLASSES  # type: ignore[arg-type]


@pytest.mark.parametrize(("context", "head"), [(0, "svm"), (3, "softmax")])
def test_context_and_head_reach_every_scorer(folder: Path, context: int, head: str):
    crop_model(folder / "b.safetensors", seed=1, head="svm")
    text = f"models: [models/a.safetensors, b.safetensors]\ncontext: {context}\nhead: {head}"
    detector = load_pipeline(config=written(folder, text), device="cpu")
    for scorer, plain in zip(detector.scorers, ("models/a.safetensors", "b.safetensors"), strict=True):
        trained = load_pipeline(folder / plain, "cpu").scorers[0]
        changed = replace(trained.config, crops=replace(trained.config.crops, context=context), head=head)
        assert scorer.config == changed


def test_without_box_regression_boxes_stay_as_proposed(folder: Path):
    text = "models: [models/a.safetensors]\nbox_regression: false\nnms_iou: 1.0"
    detector = load_pipeline(config=written(folder, text), device="cpu")
    found = detector.replace(proposer=FixedBoxes(BOXES)).detect(noise((60, 45), 1), 0.0)
    assert {tuple(box) for box in found.boxes.tolist()} == {tuple(box) for box in BOXES.tolist()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [models/a.safetensors]\nmultibox: 200", "multibox: no model here has a MultiBox head"),
        ("models: [models/a.safetensors]\nproposals: null", "without proposals of Selective Search, multibox must be"),
        ("models: [voc07]\nhead: svm", "head and context apply only to R-CNN"),
        ("models: [models/a.safetensors]\ncontext: 16", "context 16 on both sides leaves nothing of a crop of 32"),
        ("models: [voc07]\ntest_scales: [480, 480]", "test_scales must name at least one, and each once"),
        ("models: [models/a.safetensors]\nflip_test: true", "test_scales and flip_test apply only to R-FCN"),
        ("models: []", "models must name at least one"),
    ],
)
def test_wrong_configurations_are_one_line_that_names_the_file(folder: Path, text: str, message: str):
    path = written(folder, text)
    with pytest.raises(InputError, match=message) as caught:
        load_pipeline(config=path, device="cpu")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


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


def test_without_a_configuration_it_is_the_default_model():
    assert load_pipeline(device="cpu").class_names == load_pipeline(DEFAULT_MODEL, "cpu").class_names == VOC_CLASSES
