"""The command `evaluate` on labeled photos (`--dataset imagenet`)."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.tools.detect_tools import save_classifier

CLASSES = "abcdefg"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every photo it says that a is most probable, then b, and so on."""
    return save_classifier(tmp_path_factory.mktemp("model") / "m.safetensors", range(0, -7, -1), CLASSES)


@pytest.fixture
def run(tmp_path: Path, command):
    """On photos of a, b, e and f: the first is the model's best, the next two are among its best five."""
    (tmp_path / "photos/b").mkdir(parents=True)
    for name in ("a_1.jpg", "b/1.png", "e_1.jpg", "f_1.jpg"):
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / name)
    return lambda *options: command("evaluate", "--dataset", "imagenet", "--root", tmp_path / "photos", *options)


def test_hits(run, model: Path, tmp_path: Path):
    code, out, _ = run("--model", model, "--json", tmp_path / "new/result.json", "--test-crops", 10)
    assert code == 0
    assert out.startswith("top-1 1/4 (25.0%), top-5 3/4 (75.0%), 0.")
    assert out.endswith(" s per image\n")
    content = json.loads((tmp_path / "new/result.json").read_text())
    assert content.pop("seconds_per_image") > 0
    hits = {"images": 4, "top1": 0.25, "top5": 0.75, "top1_hits": 1, "top5_hits": 3, "failed": {}}
    assert content == {"dataset": "imagenet", "models": [str(model)], "crops": 10, **hits}
    assert run("--model", model, "--limit", 2).out.startswith("top-1 1/2 (50.0%), top-5 2/2 (100.0%)")


def test_several_models_are_averaged(run, model: Path, tmp_path: Path):
    """One has a, b and e among its best five, the other e and f, together they have all."""
    other = save_classifier(tmp_path / "f.safetensors", (-9, -9, 0, 0, 8, 9, 0), CLASSES)
    assert run("--model", other).out.startswith("top-1 1/4 (25.0%), top-5 2/4")
    ended = run("--model", model, "--model", other, "--json", tmp_path / "result.json")
    assert ended.out.startswith("top-1 1/4 (25.0%), top-5 4/4")
    assert json.loads((tmp_path / "result.json").read_text())["models"] == [str(model), str(other)]


def test_a_broken_photo_is_a_miss(run, model: Path, tmp_path: Path):
    (tmp_path / "photos/a_1.jpg").write_bytes(b"broken")
    code, out, err = run("--model", model, "--json", tmp_path / "result.json")
    assert code == 2
    assert out.startswith("top-1 0/4 (0.0%), top-5 2/4 (50.0%)")
    assert "a_1.jpg: not a photo" in err
    assert err.endswith("error: 1 of 4 photos failed\n")
    failed = json.loads((tmp_path / "result.json").read_text())["failed"]
    assert [Path(path).name for path in failed] == ["a_1.jpg"]
