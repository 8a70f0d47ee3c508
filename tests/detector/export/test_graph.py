"""Exported graphs and the engines: the same detections as PyTorch's."""

import copy
import json
import sys
from pathlib import Path

import pytest
import torch

from detector.config import InputConfig, ModelConfig, NetworkConfig
from detector.errors import InputError
from detector.export.check import largest_difference
from detector.export.graph import export_onnx, export_torch
from detector.export.onnx_engine import OnnxEngine
from detector.export.quantization import export_int8
from detector.inference.engines import make_engine
from detector.inference.pipeline import DetectionPipeline
from detector.models.backbones import make_backbone
from detector.models.rfcn import RFCN
from detector.models.weights import Model, weights_hash
from tests.detector.export.small_models import small_model
from tests.detector.inference.random_models import noise

pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="module")
def graph(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "any size.onnx"
    export_onnx(model, path)
    return path


@pytest.mark.parametrize("shape", [(1, 3, 96, 128), (3, 3, 64, 96), (1, 3, 160, 32)])
def test_a_graph_gives_the_maps_of_the_network(model: Model, graph: Path, shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    found = OnnxEngine(model, graph)(images)
    with torch.no_grad():
        features = model.network.features(images.float())  # type: ignore[operator]
        score_maps = model.network.score_maps(features)  # type: ignore[operator]
    torch.testing.assert_close(found.features, features, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(found.score_maps, score_maps, rtol=1e-3, atol=1e-2)


def test_the_file_describes_itself(model: Model, graph: Path) -> None:
    properties = {one.key: json.loads(one.value) for one in onnx.load(graph).metadata_props}
    assert (properties["classes"], properties["input"]["short_side"]) == (["cat", "dog"], 96)
    assert (properties["maps"]["stride"], properties["postprocess"]["nms_iou"]) == (16, 0.3)
    # no traces of the machine it was made on
    assert str(Path(__file__).parents[3]).encode() not in graph.read_bytes()


def test_scores_equal_those_of_pytorch(model: Model, graph: Path) -> None:
    scored, fingerprints, image = [], set(), noise((150, 110))
    for engine in ("torch", str(graph)):
        detector = DetectionPipeline(model, "cpu", engine=engine, precision="float32")
        fingerprints.add(detector.fingerprint)
        features = detector.encode(image)
        proposals = detector.propose(image, features)
        scored.append(detector.score(features, proposals))
        assert detector.suppress(proposals, scored[-1], 0.0).boxes.shape[0] > 0
    torch.testing.assert_close(scored[1].scores, scored[0].scores, rtol=0, atol=1e-3)
    torch.testing.assert_close(scored[1].box_deltas, scored[0].box_deltas, rtol=1e-3, atol=1e-2)
    assert len(fingerprints) == 2


@pytest.mark.slow
def test_the_graph_is_kept_in_the_users_cache(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    OnnxEngine(model)
    (kept,) = (tmp_path / "inception-rcnn").iterdir()
    written = kept.stat().st_mtime_ns
    OnnxEngine(model)
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(b"damaged")
    assert OnnxEngine(model)(torch.zeros(1, 3, 64, 64)).score_maps.shape[0] == 1


def test_a_graph_of_one_size_refuses_others(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    export_onnx(model, path, (128, 96))
    assert largest_difference(model, path, (128, 96)) < 1e-4
    with pytest.raises(InputError, match=r"exported for 128x96 pixels, this photo becomes 96x128; .*--dynamic"):
        OnnxEngine(model, path)(torch.zeros(1, 3, 128, 96))
    with pytest.raises(InputError, match="size 100x96: give multiples of 32"):
        export_onnx(model, tmp_path / "odd.onnx", (100, 96))
    assert not (tmp_path / "odd.onnx").exists()


@pytest.mark.slow
def test_a_program_of_torch_export_gives_the_same(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "graph.pt2"
    export_torch(model, path)
    assert largest_difference(model, path) < 1e-4
    extra = {"description.json": ""}
    torch.export.load(path, extra_files=extra)
    assert json.loads(extra["description.json"])["weights"] == weights_hash(model.network)


@pytest.mark.slow
def test_int8_stays_near(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    export_int8(model, path, [noise((150, 110), seed) for seed in range(3)])
    assert 0 < largest_difference(model, path) < 0.25
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(path).graph.node}
    with pytest.raises(InputError, match="no photos"):
        export_int8(model, path, [])


def test_unusable_engines_and_files(model: Model, graph: Path, tmp_path: Path) -> None:
    network = model.network
    assert isinstance(network, RFCN)
    for engine in ("tensorrt", None):
        with pytest.raises(InputError, match=rf"engine {engine!r} is unknown; .* torch, onnx"):
            make_engine(engine, model, network, torch.float32)  # type: ignore[arg-type]
    (tmp_path / "broken.onnx").write_bytes(graph.read_bytes()[:1000])
    stranger = onnx.load(graph)
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "stranger.onnx")
    reasons = {
        "missing": "no such file",
        "broken": "ONNX Runtime cannot use it",
        "stranger": "not a graph of this project",
    }
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=rf"{name}\.onnx: {reason}"):
            OnnxEngine(model, tmp_path / f"{name}.onnx")
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed.score_conv.weight += 1
    with pytest.raises(InputError, match=r"the graph of another model \(2 classes\); export it again"):
        OnnxEngine(Model(changed, model.config, model.class_names, {}), graph)


def test_a_missing_package(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"engine onnx needs the extra 'onnx': pip install"):
        OnnxEngine(model)


@pytest.mark.slow
def test_googlenet_itself_is_exported(tmp_path: Path) -> None:
    """Its ceil-mode and dilated pools, LRN and the dense backbone: 400 nodes, some seconds."""
    torch.manual_seed(0)
    config = ModelConfig(input=InputConfig(short_side=64), network=NetworkConfig(bins=2))
    network = RFCN(2, config.network).eval()
    assert type(network.backbone) is type(make_backbone("googlenet", dense=True))
    model = Model(network, config, ("cat", "dog"), {})
    export_onnx(model, tmp_path / "googlenet.onnx", (96, 64))
    assert largest_difference(model, tmp_path / "googlenet.onnx", (96, 64)) < 1e-3
