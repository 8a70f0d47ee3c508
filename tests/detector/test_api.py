"""The Python interface and `python -m detector`."""

import io
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import detector
from detector import Detections, Detector, InputError, api, load_detector, read_image
from detector.config import ModelConfig
from detector.inference.rfcn_scorer import RFCNScorer
from detector.runner.video import VideoWriter


def test_the_package_offers_the_interface():
    assert set(api.__all__) <= set(detector.__all__)
    for name in detector.__all__:
        assert getattr(detector, name) is getattr(api, name, getattr(detector, name))


def test_the_package_alone_imports_no_torch():
    program = "import sys, detector; detector.Detections; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_the_module_runs_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "detector", "detect", "--device", "tpu", "x.jpg"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --device tpu")


@pytest.fixture(scope="module")
def model() -> Detector:
    return load_detector(device="cpu", proposals="multibox")


@pytest.fixture
def folder(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a cat, a damaged photo and a clip of three frames."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shutil.copy(photos / "cat.jpg", tmp_path / "photos")
    (tmp_path / "photos/damaged.jpg").write_bytes(b"\xff\xd8 no photo")
    with VideoWriter(tmp_path / "clip.mp4", 5) as writer:
        for _ in range(3):
            writer.write(np.asarray(PillowImage.open(photos / "cat.jpg").convert("RGB").resize((160, 120))))
    return tmp_path


def test_settings_hold_for_one_call(model: Detector, folder: Path):
    plain = model("photos/cat.jpg")
    assert [one.label for one in plain] == ["cat"]
    assert len(model("photos/cat.jpg", score=0.0, max_detections=7)) == 7
    assert len(model("photos/cat.jpg", score=0.0, max_detections=300)) > 100, "more than the model's own limit"
    assert {one.label for one in model("photos/cat.jpg", score=0.0, classes="dog")} == {"dog"}
    assert len(model("photos/cat.jpg", score={"cat": 0.999})) == 0
    many, few = (model("photos/cat.jpg", score=0.001, iou=iou, max_detections=2000) for iou in (0.9, 0.1))
    assert len(many) > len(few)
    agnostic = model("photos/cat.jpg", score=0.001, iou=0.1, max_detections=2000, agnostic_nms=True)
    assert len(agnostic) < len(few)
    for proposals in ("selective_search", "both"):
        assert model("photos/cat.jpg", proposals=proposals) != plain
    assert model("photos/cat.jpg", size=320) != plain
    assert model("photos/cat.jpg", tile=256, size=320)[0].label == "cat"
    assert model("photos/cat.jpg") == plain


def test_size_is_the_short_side_of_every_input(model: Detector):
    resized = model.pipeline.with_settings(size=321)
    (scorer,) = resized.scorers
    assert isinstance(scorer, RFCNScorer)
    assert isinstance(scorer.config, ModelConfig)
    assert scorer.config.input.short_side == 321
    assert scorer.network is model.pipeline.scorers[0].network, "the networks are shared"
    assert resized.proposer.scorer is scorer, "MultiBox proposes from the same pass"  # type: ignore[attr-defined]
    assert resized.fingerprint != model.pipeline.fingerprint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_detection": 5}, "'max_detection'.*'max_detections'"),
        ({"score": 1.5}, "score 1.5"),
        ({"score": {"cta": 0.5}}, "'cta'.*'cat'"),
        ({"classes": ["cta"]}, "'cta'.*'cat'"),
        ({"iou": "high"}, "iou 'high'"),
        ({"size": 8}, "size is 8"),
        ({"size": 320.5}, "size is 320.5"),
        ({"tile": 8}, "tile is 8"),
        ({"overlap": 0.2}, "give tile"),
        ({"max_detections": 0}, "max_detections is 0"),
        ({"proposals": "multibx"}, "'multibx'.*'multibox'"),
        ({"batch": 0}, "batch 0"),
        ({"batch": 2, "tile": 200}, "tile"),
        ({"errors": "skp"}, "'skp'.*'skip'"),
        ({"agnostic_nms": "no"}, "agnostic_nms is 'no'"),
    ],
)
def test_a_wrong_setting_is_named(model: Detector, folder: Path, settings: dict[str, Any], words: str):
    for call in (model, model.stream):
        with pytest.raises(InputError, match=words):
            call("photos/cat.jpg", **settings)


def test_lists_raise_or_skip(model: Detector, folder: Path, caplog: pytest.LogCaptureFixture):
    names = ["photos/cat.jpg", "photos/damaged.jpg", "none.jpg"]
    with pytest.raises(InputError, match=r"damaged\.jpg"):
        model(names)
    with caplog.at_level(logging.WARNING):
        (result,) = model(names, errors="skip")
    assert result.name == "photos/cat.jpg"
    assert [record.message.partition(":")[0] for record in caplog.records] == names[1:]
    assert [r.name for r in model.stream(names, errors="skip")] == names[:1]
    with pytest.raises(InputError, match=r"none\.jpg"):
        model("none.jpg", errors="skip")  # one picture has no result without itself
    with pytest.raises(InputError, match="'ignore'"):
        model(names, errors="ignore")
    assert model([]) == []


@pytest.mark.parametrize("source", ["photos", Path("photos"), "photos/*.jpg", "clip.mp4", "none.zip", ["list.txt"]])
def test_a_call_sends_what_is_more_than_a_photo_to_stream(model: Detector, folder: Path, source: Any):
    with pytest.raises(InputError, match=r"photos|clip\.mp4|none\.zip|list\.txt") as caught:
        model(source)
    assert "stream" in str(caught.value)


def test_every_kind_of_picture_is_remembered(model: Detector, folder: Path):
    pixels = read_image("photos/cat.jpg").pixels
    expected = model("photos/cat.jpg")
    pictures: list[tuple[Any, str | None]] = [
        (Path("photos/cat.jpg"), None),
        (pixels, "RGB"),
        (pixels[:, :, ::-1], "BGR"),
        (PillowImage.fromarray(pixels), None),
        (torch.from_numpy(pixels.copy()).permute(2, 0, 1), None),
        (Path("photos/cat.jpg").read_bytes(), None),
        (io.BytesIO(Path("photos/cat.jpg").read_bytes()), None),
        (read_image("photos/cat.jpg"), None),
    ]
    for picture, channels in pictures:
        result = model(picture, channels=channels)
        assert result == expected
        drawn = result.draw()[:, :, ::-1] if channels == "BGR" else result.draw()
        np.testing.assert_array_equal(drawn, expected.draw())
    assert [len(found) for found in model([pixels, pixels], channels="RGB", batch=2)] == [1, 1]


def test_a_stream_of_photos_and_frames(model: Detector, folder: Path):
    results = model.stream(["photos/c*.jpg", "clip.mp4"], frame_step=2)
    cat = next(results)
    first = next(results)
    assert (cat.name, first.name) == ("photos/cat.jpg", "clip.mp4#0")
    assert first.draw().shape == (120, 160, 3)
    last = next(results)
    assert last.name == "clip.mp4#2"
    with pytest.raises(InputError, match=r"clip\.mp4#0.*image="):
        first.draw()
    assert cat.save("new/cat.png").is_file(), "a photo is read again"
    assert list(results) == []
    with pytest.raises(InputError, match="none"):
        list(model.stream("none"))
    with pytest.raises(InputError, match="frame_step"):
        model.stream("clip.mp4", frame_step=0)


def test_a_model_is_saved_and_moved(model: Detector, folder: Path, photos: Path):
    copy = load_detector(model.save("mine.safetensors"), "cpu", proposals="multibox", dtype="float32")
    assert repr(copy) == "<Detector: mine.safetensors, 20 classes, cpu, float32>"
    assert copy.to(torch.device("cpu")).pipeline.precision == "float32", "the format stays as it was given"
    moved = copy.to(dtype=torch.bfloat16)
    assert moved is copy
    assert (moved.pipeline.precision, moved("photos/cat.jpg")[0].label) == ("bfloat16", "cat")
    for name, words in (("mine.pt", ".safetensors"), ("no/where.safetensors", "cannot be written")):
        with pytest.raises(InputError, match=words):
            model.save(name)
    with pytest.raises(InputError, match="float16"):
        copy.to(dtype="float16")
    assert copy.to("cpu").pipeline.precision == "bfloat16", "a refused format leaves no trace"
    with pytest.raises(InputError, match="mps"):
        copy.to("mps" if not torch.backends.mps.is_available() else "mps1")


def test_a_training_ends_with_torch_in_place_of_the_graph_of_the_model_before(
    model: Detector, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("tensorboard")
    fit, given = "detector.training.custom_dataset.fit", dict[str, Any]()
    monkeypatch.setattr(fit, lambda *_, **settings: given.update(settings) or SimpleNamespace(model=settings["init"]))
    trained = Detector(model.path, "cpu", proposals="multibox")
    trained._engine = "before.onnx"
    trained.train("photos", "out", labels="image")
    assert given["labels"] == "image"
    assert trained.pipeline.engine == "torch"


def test_a_configuration_is_loaded_by_name(folder: Path):
    best = load_detector("best", "cpu")
    assert len(best.pipeline.scorers) > 1
    with pytest.raises(InputError, match="size"):
        best("photos/cat.jpg", size=320)
    for call in (best.save, best.export):
        with pytest.raises(InputError, match="configuration"):
            call("best.safetensors" if call == best.save else "best.onnx")
    with pytest.raises(InputError, match="bset"):
        load_detector("bset", "cpu")


def test_evaluate_agrees_with_the_boxes(model: Detector, folder: Path):
    found = model("photos/cat.jpg")
    x1, y1, x2, y2 = found[0].box
    content = {
        "images": [{"id": 1, "file_name": "cat.jpg", "width": 451, "height": 300}],
        "categories": [{"id": 17, "name": "cat"}, {"id": 99, "name": "kite"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 17, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": 9, "iscrowd": 0}
        ],
    }
    Path("instances.json").write_text(json.dumps(content))
    evaluation = model.evaluate("instances.json")  # the photos are found near it
    assert evaluation.to_dict()["AP50"] == pytest.approx(1)
    assert model.evaluate("instances.json", "photos", metric="voc07", iou=0.2).to_dict()["mAP"] == pytest.approx(1)
    with pytest.raises(InputError, match="'score'"):
        model.evaluate("instances.json", score=0.5)  # type: ignore[call-arg]
    for data, settings, words in (
        ("instances.json", {"classes": "cta"}, "'cta'.*'cat'"),
        ("instances.json", {"split": "train"}, "split"),
        ("instances.json", {"seed": 1}, "seed"),
        ("instances.json", {"limit": 0}, "limit is 0"),
        ("photos", {"photos": "photos"}, "leave photos out"),
        ("photos", {"split": "vla"}, "'vla'.*'val'"),
    ):
        with pytest.raises(InputError, match=words):
            model.evaluate(data, **settings)  # type: ignore[arg-type]
    shutil.rmtree("photos")
    with pytest.raises(InputError, match=r"instances\.json.*folder"):
        model.evaluate("instances.json")


@pytest.mark.slow
def test_the_page_that_explains(model: Detector, folder: Path):
    pytest.importorskip("fastapi")
    page = load_detector(device="cpu").explain("photos/cat.jpg", "why.html").read_text()
    for stage in ("segmentation", "levels", "proposals", "region", "regression", "suppression", "detections"):
        assert f'<section id="{stage}">' in page
    assert page.count("<img ") > 15
    assert "<form" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_detections_are_part_of_the_package():
    assert Detections.empty(("cat",), (3, 4)).class_id.tolist() == []
