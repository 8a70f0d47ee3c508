"""The networks on PyTorch's meta device, whose tensors have shapes but no values.

An operation that reads a value, or whose output shape depends on values, raises there; on a GPU it would synchronize.
None occurs from the images to the scores. Postprocessing (score thresholds, NMS, box voting) depends on values and runs
on the CPU.
"""

import numpy as np
import pytest
import torch
from torch import nn

from detector.config import CropNetworkConfig, InputConfig, ModelConfig, NetworkConfig, PostprocessConfig
from detector.inference.engines import TorchEngine
from detector.inference.postprocess import postprocess
from detector.inference.rfcn_scorer import RFCNScorer
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN
from detector.ops.devices import upload
from detector.ops.nms import class_nms
from detector.ops.ps_roi_pool import ps_roi_pool
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores, average_scores
from detector.structures.rois import RoIs
from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.network import MultiBoxHead

META = torch.device("meta")
CONFIG = ModelConfig(input=InputConfig(short_side=64), network=NetworkConfig(multibox=MultiBoxConfig(grids=(4, 1))))


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, device=META, dtype=dtype)


@pytest.fixture(scope="module")
def network() -> RFCN:
    return RFCN(20, CONFIG.network, extra_background_classes=3).eval().to(META)


@pytest.mark.parametrize("inference", [True, False])
def test_the_region_classifier(network: RFCN, inference: bool):
    regions = RoIs.of_images([meta(5, 4), meta(0, 4), meta(2, 4)])
    with torch.inference_mode(inference):
        result = network(meta(3, 3, 96, 128, dtype=torch.uint8), regions)
    assert result.class_logits.shape == (7, 21)
    assert result.box_deltas.shape == (7, 4)
    assert result.box_deltas.device == META
    assert result.class_logits.requires_grad != inference


def test_pooling():
    regions = RoIs.of_images([meta(6, 4), meta(1, 4)], [1, 0])
    assert regions.image_index.device == META
    assert ps_roi_pool(meta(2, 8, 9, 9 * 5), regions, 16, 14.5, 3).shape == (7, 5)


@pytest.mark.parametrize("form", ["grid", "global"])
def test_the_multibox_head(form: str):
    config = MultiBoxConfig(form=form, grids=(4, 2), shapes=3, channels=8)  # type: ignore[arg-type]
    head = MultiBoxHead(16, config).to(META)
    result = head(meta(2, 16, 6, 8))
    assert result.logits.shape == (2, config.boxes)
    assert head.boxes(result.box_deltas).shape == (2, config.boxes, 4)


def test_the_crop_classifier():
    network = RCNN(20, CropNetworkConfig()).eval().to(META)
    result = network.features(meta(3, 3, 224, 224))
    assert network.log_odds(result, "svm").shape == network.log_odds(result, "softmax").shape == (3, 20)
    assert network.box_deltas(result).shape == (3, 20, 4)


def test_from_the_images_of_a_batch_to_the_scores_of_its_regions():
    """Everything that `DetectionPipeline.score_batch` does before it fetches the scores."""
    network = RFCN(20, CONFIG.network).eval().to(META)
    nn.Module.requires_grad_(network, False)
    scorer = RFCNScorer(network, CONFIG, TorchEngine(network, torch.bfloat16))
    images = [Image(np.zeros((h, w, 3), np.uint8), "black") for w, h in ((90, 60), (60, 90), (96, 64))]
    views = scorer.encode_batch(images, [scorer.prepare(image) for image in images])
    assert [view.maps.score_maps.shape[:3] for view in views] == [(1, 4, 6), (1, 6, 4), (1, 4, 6)]
    boxes = [upload(torch.rand(count, 4), META) for count in (5, 3, 0)]
    scored = [average_scores([one, one]) for one in scorer.score(views, boxes)]
    assert [tuple(one.scores.shape) for one in scored] == [(5, 20), (3, 20), (0, 20)]
    assert [tuple(one.box_deltas.shape) for one in scored if one.box_deltas is not None] == [
        (5, 20, 4),
        (3, 20, 4),
        (0, 20, 4),
    ]
    assert {one.scores.device for one in scored} == {META}


def test_postprocessing_reads_values():
    """It fails on the meta device, which is why the scores are fetched first."""
    with pytest.raises((NotImplementedError, RuntimeError), match=r"nonzero|meta"):
        postprocess(
            RegionScores(meta(5, 2), meta(5, 1, 4)), meta(5, 4), (90, 60), ("cat", "dog"), PostprocessConfig(), 0.5
        )
    with pytest.raises((NotImplementedError, RuntimeError)):
        class_nms(meta(5, 4), meta(5), meta(5, dtype=torch.int64), 0.5).tolist()


def test_all_on_one_gpu():
    """On a fake GPU, where operations that mix devices or read values raise."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.inference_mode():
        with torch.device("cuda"):
            network = RFCN(20, CONFIG.network).eval()
            images, boxes = torch.empty(2, 3, 96, 128), [torch.empty(5, 4), torch.empty(3, 4)]
        features = network.features(images)
        result = network.classify(network.score_maps(features), RoIs.of_images(boxes, [1, 0]))
        assert (result.class_logits.shape, result.class_logits.device.type) == ((8, 21), "cuda")
        assert network.multibox is not None
        proposed = network.multibox(features)
        assert network.multibox.boxes(proposed.box_deltas).device.type == "cuda"
        with pytest.raises(RuntimeError, match="devices"):
            network.classify(network.score_maps(features), RoIs.of_images([torch.empty(5, 4)]))
