"""Detection on a GPU: the same as on the CPU, in batches as one by one, and without waiting in between.

All of it needs a GPU and is skipped without one; `pytest tests/gpu` runs it.
"""

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from detector.config import CropConfig, CropNetworkConfig, InputConfig, ModelConfig, NetworkConfig, RCNNConfig
from detector.evaluation.prediction.tracing import trace_objects
from detector.inference.assembly import load_pipeline
from detector.inference.batching import in_batches
from detector.inference.pipeline import DetectionPipeline
from detector.inference.rfcn_scorer import RFCNScorer
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.models.weights import Model, load_model
from detector.ops.devices import upload
from detector.structures.detections import Detections
from detector.structures.image import Image, read_image
from proposals import Proposals, SelectiveSearchConfig
from proposals.multibox.config import MultiBoxConfig

DEVICE = "cuda"

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@pytest.fixture(autouse=True)
def no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 as the CPU computes it; by default a GPU's convolutions round float32 to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@contextmanager
def waiting(mode: str) -> Iterator[None]:
    """What PyTorch does within the block at an operation for which it waits for the GPU: "warn" or "error"."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(scope="module")
def images(photos: Path) -> list[Image]:
    """The two photos, and parts and reflections of them: three sizes of the network's input."""
    cat, astronaut = (read_image(photos / name) for name in ("cat.jpg", "astronaut.jpg"))
    made = [
        cat.pixels,
        astronaut.pixels,
        cat.pixels[:, ::-1],
        cat.pixels[::-1].swapaxes(0, 1),
        astronaut.pixels[:, ::-1],
        cat.pixels[:, 30:],
    ]
    return [Image(np.ascontiguousarray(pixels), f"photo {i}") for i, pixels in enumerate(made)]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(None)


@pytest.fixture(scope="module")
def expected(images: list[Image]) -> list[Detections]:
    """What the CPU finds in float32, from 0.15."""
    detector = load_pipeline(device="cpu", precision="float32")
    found = [detector.detect(image, 0.15) for image in images]
    assert all((one.scores > 0.3).any() for one in found[:3])
    return found


def assert_agree(found: Sequence[Detections], expected: Sequence[Detections], iou: float, score: float) -> None:
    """Each detection above 0.3 on one side has one on the other: of its class, about its box and its score."""
    assert [one.image_size for one in found] == [one.image_size for one in expected]
    for one, other in zip(found, expected, strict=True):
        for own, others in ((one, other), (other, one)):
            sure = own.scores > 0.3
            same = own.labels[sure][:, None] == others.labels
            same &= box_iou(torch.from_numpy(own.boxes[sure]), torch.from_numpy(others.boxes)).numpy() > iou
            same &= np.abs(own.scores[sure][:, None] - others.scores) < score
            assert same.any(axis=1).all(), f"{own.to_dict()} is not {others.to_dict()}"


# The same detections


def test_a_gpu_is_the_default_and_computes_in_bfloat16():
    detector = load_pipeline()
    assert detector.device.type == DEVICE
    assert (detector.dtype == torch.bfloat16) == torch.cuda.is_bf16_supported(including_emulation=False)
    assert all(parameter.is_cuda for parameter in detector.scorers[0].network.parameters())


@pytest.mark.parametrize(
    ("device", "precision", "iou", "score"), [(f"{DEVICE}:0", "float32", 0.97, 5e-3), (DEVICE, "bfloat16", 0.7, 0.1)]
)
def test_singles_batches_and_a_stream_find_what_the_cpu_finds(images, expected, device, precision, iou, score):
    detector = load_pipeline(device=device, precision=precision)
    singles = [detector.detect(image, 0.15) for image in images]
    assert_agree(singles, expected, iou, score)
    assert_agree(detector.detect_batch(images, 0.15), singles, iou, score)
    assert_agree(detector.detect_batch(images[:1], 0.15), singles[:1], iou, score)

    def finish(_: int, scored) -> Detections:
        return detector.suppress(scored.proposals, scored.scores, 0.15)

    found = list(in_batches(detector, range(12), lambda i: images[i % 6], finish, 4, 3))  # proposals on threads
    assert_agree(found, singles * 2, iou, score)  # type: ignore[arg-type]


def test_scores_of_the_same_regions_in_float32(images: list[Image]):
    """Before any threshold, for every region."""
    detectors = [load_pipeline(device=device, precision="float32") for device in ("cpu", DEVICE)]
    proposals = detectors[0].propose(images[0], ())
    scored = [detector.score(detector.encode(images[0]), proposals) for detector in detectors]
    assert scored[1].scores.device.type == "cpu"
    assert scored[1].scores.shape == scored[0].scores.shape
    torch.testing.assert_close(scored[1].scores, scored[0].scores, rtol=0, atol=5e-3)
    torch.testing.assert_close(scored[1].box_deltas, scored[0].box_deltas, rtol=0, atol=2e-2)


@pytest.mark.parametrize("nothing", [(300,), (300, 512, 451)], ids=["in some", "in all"])
def test_images_without_proposals(images: list[Image], nothing: tuple[int, ...]):
    """By their height; the photos are 300, 451 and 512 pixels high."""
    detector = load_pipeline(device=DEVICE, precision="bfloat16")
    search = detector.proposer

    class Sometimes:
        fingerprint = "sometimes"

        def __call__(self, image: np.ndarray) -> Proposals:
            found = search(image)
            return found.top(0) if image.shape[0] in nothing else found

    found = detector.replace(proposer=Sometimes()).detect_batch(images, 0.15)
    for image, one in zip(images, found, strict=True):
        assert (len(one) == 0) == (image.height in nothing)


def test_one_pass_for_two_sources(images: list[Image]):
    """MultiBox and Selective Search, with random weights: its boxes and the regions' scores are the CPU's."""
    model = with_multibox()
    first, second = (DetectionPipeline(model, device, source="both", precision="float32") for device in ("cpu", DEVICE))
    heads = []
    for detector in (first, second):
        (features,) = detector.encode(images[0])
        head = detector.scorers[0].network.multibox
        with torch.inference_mode():
            found = head(features.maps.features)  # type: ignore[operator, union-attr, attr-defined]
            heads.append((found.logits.cpu(), head.boxes(found.box_deltas).cpu()))  # type: ignore[operator, union-attr]
    for own, other in zip(*heads, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-2, atol=1e-2)
    detector = DetectionPipeline(model, DEVICE, source="both")
    scored_images = detector.score_batch([detector.prepare(image) for image in images])
    for image, (proposals, scored) in zip(images, scored_images, strict=True):
        assert proposals.image_size == (image.width, image.height)
        assert {name.split("/")[0] for name in proposals.source_names} == {"multibox", "selective_search"}
        assert scored.scores.shape == (len(proposals), 2)
        assert scored.scores.isfinite().all()
    assert len(DetectionPipeline(model, DEVICE, source="multibox").detect_batch(images, 0.0)) == len(images)


def with_multibox() -> Model:
    torch.manual_seed(0)
    head = MultiBoxConfig(grids=(4, 2, 1), shapes=3, channels=8)
    config = ModelConfig(
        input=InputConfig(short_side=96),
        network=NetworkConfig(multibox=head),
        proposals=SelectiveSearchConfig.preset("single"),
    )
    network = RFCN(2, config.network).eval()
    assert network.multibox is not None
    corners = torch.rand(head.boxes, 2) * 0.5
    network.multibox.set_priors(torch.cat((corners, corners + 0.1 + 0.4 * torch.rand(head.boxes, 2)), dim=1))
    return Model(network, config, ("cat", "dog"), {})


def test_crops_and_an_ensemble(images: list[Image]):
    """A model that sees crops, alone and averaged with a shared pass: the scores are the CPU's."""
    torch.manual_seed(1)
    config = RCNNConfig(crops=CropConfig(size=64, context=4), network=CropNetworkConfig(box_bins=2))
    network = RCNN(2, config.network).eval().requires_grad_(False)
    nn.init.normal_(network.box_weight, std=0.01)
    crops, shared = Model(network, config, ("cat", "dog"), {}), with_multibox()
    proposals = DetectionPipeline(shared, "cpu", source="selective_search").propose(images[0], ()).top(100)
    for models in ((crops,), (shared, crops)):
        scores = []
        for device in ("cpu", DEVICE):
            detector = DetectionPipeline(models, device, precision="float32")
            scores.append(detector.score(detector.encode(images[0]), proposals))
        torch.testing.assert_close(scores[1].scores, scores[0].scores, rtol=0, atol=5e-3)
        assert scores[1].box_deltas is not None
        assert scores[1].box_deltas.shape == (100, 2, 4)
    found = DetectionPipeline((shared, crops), DEVICE).detect_batch(images[:2], 0.0)
    assert all(len(one) > 0 for one in found)


def test_other_ways_through_a_detector(images: list[Image]):
    detector = load_pipeline(device=DEVICE, precision="float32")
    expected = detector.detect(images[0], 0.15)
    proposals = detector.propose(images[0], ())
    scored = detector.score(detector.encode(images[0]), proposals)
    traces = trace_objects(proposals, scored, expected.boxes[:1], expected.labels[:1])
    assert traces.region_scores[0] == pytest.approx(expected.scores[0], abs=0.2)
    assert_agree([detector.detect_proposals(images[0], proposals, 0.15)], [expected], iou=0.97, score=5e-3)


# Nothing waits


def test_nothing_waits_from_the_images_to_the_scores(images: list[Image]):
    """PyTorch raises at every operation that would; the last lines show that it does."""
    detector = load_pipeline(device=DEVICE, precision="bfloat16")
    (scorer,) = detector.scorers
    proposals = [detector.propose(image, ()) for image in images]
    inputs = [scorer.prepare(image) for image in images]

    def run():
        features = scorer.encode_batch(images, inputs)
        boxes = [upload(torch.from_numpy(np.ascontiguousarray(own.boxes)), detector.device) for own in proposals]
        return scorer.score(features, boxes)

    expected = [one.scores.cpu() for one in run()]  # all that is set up once is set up
    with waiting("error"):
        scored = run()
    with waiting("error"), pytest.raises(RuntimeError, match="synchronizing"):
        scored[0].scores.cpu()
    for one, scores in zip(scored, expected, strict=True):
        torch.testing.assert_close(one.scores.cpu(), scores, rtol=0, atol=1e-3)


def waits(work: Callable[[], Any]) -> tuple[Any, list[str]]:
    """The result of some work, and where it waited for the GPU."""
    with waiting("warn"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work()
    told = [one for one in caught if "called a synchronizing CUDA operation" in str(one.message)]
    return result, [f"{one.filename}:{one.lineno} {one.message}" for one in told]


@pytest.mark.parametrize(("source", "times"), [("selective_search", 1), ("multibox", 2)])
def test_a_batch_waits_once_and_for_multibox_once_more(model: Model, images: list[Image], source: str, times: int):
    """Images of one size: each pass has its own MultiBox boxes to wait for."""
    chosen = model if source == "selective_search" else with_multibox()
    detector = DetectionPipeline(chosen, DEVICE, source=source)  # type: ignore[arg-type]
    batch = [images[0], images[2], images[0]]
    detector.detect_batch(batch)
    _, places = waits(lambda: detector.detect_batch(batch))
    assert len(places) == times, places


def test_flipped_inputs_of_another_size_wait_no_more(model: Model, images: list[Image]):
    """Nothing waits between the first pass and the one transfer of all scores."""
    detectors = []
    for device in (DEVICE, "cpu"):
        detector = DetectionPipeline(model, device, source="selective_search")  # MultiBox's boxes are waited for
        (scorer,) = detector.scorers
        assert isinstance(scorer, RFCNScorer)
        detectors.append(detector.replace(scorers=(scorer, scorer.with_input(400, flipped=True))))
    detector, cpu = detectors
    prepared = [detector.prepare(image) for image in images]
    detector.score_batch(prepared)
    scored_images, places = waits(lambda: detector.score_batch(prepared))
    assert len(places) == 1, places
    found = [detector.suppress(proposals, scored, 0.15) for proposals, scored in scored_images]
    assert_agree(found, [cpu.detect(image, 0.15) for image in images], iou=0.7, score=0.1)


def test_what_is_uploaded_is_what_was_there():
    for tensor in (torch.arange(7), torch.rand(0, 4), torch.rand(3, 5, 2).permute(2, 0, 1), torch.tensor(3)):
        found = upload(tensor, torch.device(DEVICE))
        assert found.is_cuda
        assert torch.equal(found.cpu(), tensor)
        assert upload(found, torch.device(DEVICE)).data_ptr() == found.data_ptr()


def test_memory_is_given_back(model: Model, images: list[Image]):
    def use() -> int:
        torch.cuda.reset_peak_memory_stats()
        detector = DetectionPipeline(model, DEVICE)
        assert isinstance(detector.scorers[0], RFCNScorer)
        detector.detect_batch(images[:4])
        held = torch.cuda.memory_allocated()
        del detector
        gc.collect()
        return held

    use()  # what libraries keep for themselves
    gc.collect()
    before = torch.cuda.memory_allocated()
    assert use() > before + 2**20, "the weights were on the GPU"
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() - before < 4 * 2**30
