"""End-to-end graphs find what the pipeline finds, and run without this package."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from detector.config import ModelConfig, PostprocessConfig
from detector.errors import InputError
from detector.export.end_to_end import LOWEST_SCORE, export_end_to_end
from detector.export.onnx_engine import OnnxEngine
from detector.inference.end_to_end import export_detector
from detector.inference.pipeline import DetectionPipeline
from detector.models.weights import Model, weights_hash
from detector.ops.transforms import input_size, resize
from detector.structures.detections import Detections
from detector.structures.image import Image
from tests.detector.export.small_models import small_model
from tests.detector.inference.random_models import HEAD, proposals_of, rcnn_model

pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CHECKOUT = Path(__file__).parents[3]
SIZES = [(300, 200), (96, 128), (400, 60), (60, 400), (8, 6), (384, 192), (1, 1)]  # wide, tall, tiny, no resizing


def photo(size: tuple[int, int]) -> Image:
    """An image (width, height) of large spots."""
    spots = np.random.default_rng(size).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image(resize(spots, size), "spots")


def boxes_in(size: tuple[int, int], count: int) -> np.ndarray:
    low = np.random.default_rng(count).random((count, 2)) * 0.6
    return (np.concatenate((low, low + 0.1 + 0.3 * low), axis=1) * (*size, *size)).astype(np.float32)


def run(path: Path, **inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(onnxruntime.InferenceSession(str(path)).run(None, inputs))


def share_in(some: Any, others: Any) -> float:
    """The share of detections that are among others, the box to a pixel and the score to 0.01."""
    near = (np.abs(some[0][:, None] - others[0]) <= 1).all(axis=2) & (np.abs(some[1][:, None] - others[1]) <= 0.01)
    return float((near & (some[2][:, None] == others[2])).any(axis=1).mean()) if len(some[0]) else 1.0


def check(found: tuple[np.ndarray, ...], expected: Detections) -> None:
    boxes, scores, labels = found
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
    assert len(boxes) == len(expected)
    assert (np.diff(scores) <= 0).all()
    wanted = (expected.boxes, expected.scores, expected.labels)  # of nearly equal scores either may come first
    assert share_in(found, wanted) == share_in(wanted, found) == 1


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model(HEAD)


@pytest.fixture(scope="module")
def pipeline(model: Model) -> DetectionPipeline:
    return DetectionPipeline(model, "cpu", source="multibox", precision="float32")


@pytest.fixture(scope="module")
def graph(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "detector.onnx"
    export_end_to_end(model, path)
    return path


@pytest.fixture(scope="module")
def graph_of_regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "regions.onnx"
    export_end_to_end(small_model(), path, regions=True)
    return path


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_photo_gives_the_detections_of_the_pipeline(pipeline: DetectionPipeline, graph: Path, size: Any) -> None:
    image = photo(size)
    expected = pipeline.detect(image, LOWEST_SCORE)
    assert len(expected) > 0 or size == (1, 1)
    check(run(graph, image=image.pixels), expected)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("count", [0, 1, 60])
def test_regions_as_an_input(graph_of_regions: Path, size: Any, count: int) -> None:
    pipeline = DetectionPipeline(small_model(), "cpu", precision="float32")
    image, regions = photo(size), boxes_in(size, count)
    expected = pipeline.detect_proposals(image, proposals_of(regions, image.pixels), LOWEST_SCORE)
    assert len(expected) > 0 or count == 0 or size in ((1, 1), (8, 6))
    check(run(graph_of_regions, image=image.pixels, regions=regions), expected)


def test_standard_operators_and_a_description(model: Model, graph: Path) -> None:
    proto = onnx.load(graph)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {""}
    assert [(one.domain, one.version) for one in proto.opset_import] == [("", 20)]
    properties = {one.key: json.loads(one.value) for one in proto.metadata_props}
    assert (properties["classes"], properties["category_ids"]) == (["cat", "dog"], [17, 18])
    assert properties["settings"]["multibox_boxes"] == 20
    assert properties["settings"]["postprocess"]["nms_iou"] == 0.3
    assert (properties["weights"], properties["opset"]) == (weights_hash(model.network), 20)
    assert str(CHECKOUT).encode() not in graph.read_bytes()  # no traces of the machine it was made on


def with_settings(model: Model, **settings: Any) -> Model:
    assert isinstance(model.config, ModelConfig)
    return replace(model, config=replace(model.config, postprocess=replace(model.config.postprocess, **settings)))


@pytest.mark.slow
def test_no_detections(model: Model, tmp_path: Path) -> None:
    sure_of_nothing = with_settings(model, calibration=(1.0, -50.0))
    export_end_to_end(sure_of_nothing, tmp_path / "detector.onnx")
    found = run(tmp_path / "detector.onnx", image=photo((300, 200)).pixels)
    assert [result.shape for result in found] == [(0, 4), (0,), (0,)]


@pytest.mark.slow
def test_other_settings(tmp_path: Path) -> None:
    """NMS across classes, no voting, few detections, extra background classes and bins of their own for box deltas."""
    settings = PostprocessConfig(
        agnostic_nms=True, voting_iou=None, max_detections=5, class_calibrations=((0.7, 0.2), (1.3, -0.4))
    )
    model = small_model(HEAD, settings, extra=2, delta_bins=2)
    export_end_to_end(model, tmp_path / "detector.onnx")
    pipeline = DetectionPipeline(model, "cpu", source="multibox", precision="float32")
    for size in SIZES:
        image = photo(size)
        check(run(tmp_path / "detector.onnx", image=image.pixels), pipeline.detect(image, LOWEST_SCORE))


@pytest.mark.slow
def test_a_fixed_size(model: Model, pipeline: DetectionPipeline, tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    same, found = export_detector(model, path, (300, 200))
    assert same == found > 0
    session = onnxruntime.InferenceSession(str(path))
    assert session.get_inputs()[0].shape == [200, 300, 3]
    image = photo((300, 200))
    check(tuple(session.run(None, {"image": image.pixels})), pipeline.detect(image, LOWEST_SCORE))


def test_photos_are_resized_as_by_opencv(tmp_path: Path) -> None:
    from detector.config import InputConfig
    from detector.export.end_to_end import Operators, input_size_of, resized

    op, helper = Operators(), onnx.helper
    photo_size = op.Slice(op.Shape("image"), [0], [2])
    op.Identity(resized(op, "image", photo_size, input_size_of(op, photo_size, InputConfig(96, 192))), outputs=["out"])
    given = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["h", "w", 3])
    result = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [3, "y", "x"])
    graph = helper.make_graph(op.nodes, "resize", [given], [result], op.initializers)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "resize.onnx"
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "resize.onnx"))
    for size in [*SIZES, (640, 480), (97, 95), (192, 192), (500, 375)]:
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        expected = resize(pixels, input_size(*size, 96, 192))
        (found,) = session.run(None, {"image": pixels})
        difference = found.transpose(1, 2, 0) - expected
        assert np.abs(difference).max() <= 1
        assert abs(difference.mean()) < 0.05
        assert (difference != 0).mean() < 0.05


def test_the_lines_of_the_guide_run_without_this_package(
    pipeline: DetectionPipeline, graph: Path, tmp_path: Path
) -> None:
    guide = (CHECKOUT / "detector" / "export" / "README.md").read_text()
    lines = next(block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "onnxruntime" in block)
    assert len([line for line in lines.splitlines() if line.strip()]) <= 12
    image = photo((300, 200))
    PILImage.fromarray(image.pixels).save(tmp_path / "photo.png")
    (tmp_path / "detector.onnx").write_bytes(graph.read_bytes())
    (tmp_path / "lines.py").write_text(lines.replace("photo.jpg", "photo.png"))  # JPEG would change the pixels
    alone = (
        "import sys, runpy\n"
        "sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'cv2', 'detector', 'proposals']))\n"
        "runpy.run_path('lines.py')\n"
    )
    ended = subprocess.run([sys.executable, "-I", "-c", alone], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    expected = pipeline.detect(image, 0.5)
    printed = [line.split(" ", 2) for line in ended.stdout.splitlines()]
    assert [name for name, _, _ in printed] == [found.label for found in expected]
    assert len(printed) > 0
    for (_, score, box), found in zip(printed, expected, strict=True):
        assert float(score) == pytest.approx(found.score, abs=0.016)
        assert json.loads(box) == pytest.approx(found.box, abs=1.1)


# In a process of its own: after OpenVINO a training in the same process can end with a segmentation fault.
OPENVINO = """
import sys, numpy, openvino
compiled = openvino.compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
found = compiled(dict(numpy.load("inputs.npz"))).values()
numpy.savez("found.npz", *found)
"""


def test_openvino_finds_the_same(graph: Path, graph_of_regions: Path, tmp_path: Path) -> None:
    if find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    for path in (graph, graph_of_regions):
        for size in ((300, 200), (60, 400)):
            regions = {"regions": boxes_in(size, 60)} if path == graph_of_regions else {}
            inputs = {"image": photo(size).pixels, **regions}
            np.savez(tmp_path / "inputs.npz", **inputs)
            subprocess.run([sys.executable, "-c", OPENVINO, str(path)], cwd=tmp_path, check=True)
            found, expected = tuple(np.load(tmp_path / "found.npz").values()), run(path, **inputs)
            assert len(expected[0]) > 10
            # where two IoUs are equal to rounding, NMS may keep another box
            assert min(share_in(found, expected), share_in(expected, found)) > 0.9


def test_refused_models_and_graphs(model: Model, graph: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="crops"):
        export_end_to_end(rcnn_model(), tmp_path / "detector.onnx")
    with pytest.raises(InputError, match="--regions"):
        export_end_to_end(small_model(), tmp_path / "detector.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"detector\.onnx: .*--end-to-end"):
        OnnxEngine(model, graph)
    newer = onnx.load(graph)
    newer.opset_import[0].version = 99
    onnx.save(newer, tmp_path / "newer.onnx")
    with pytest.raises(InputError, match=r"newer\.onnx: ONNX Runtime cannot use it") as raised:
        OnnxEngine(model, tmp_path / "newer.onnx")
    assert "\n" not in str(raised.value)
