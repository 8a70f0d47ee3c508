import subprocess
import sys
from pathlib import Path

import pytest

from detector.config import CONFIG_FOLDER, InputConfig, ModelConfig
from detector.errors import InputError
from detector.models.files import DEFAULT_MODEL, classes_of_model, find_model
from detector.models.rfcn import RFCN
from detector.models.weights import Model, load_model, save_model

ROOT = Path(__file__).parents[3]


def test_classes_of_model(tmp_path: Path):
    assert classes_of_model() == classes_of_model("voc07") == (load_model().class_names, {})
    config = ModelConfig(input=InputConfig(short_side=64))
    path = tmp_path / "custom.safetensors"
    save_model(Model(RFCN(2, config.network), config, ("cone", "mug"), {}), path)
    assert classes_of_model(path) == (("cone", "mug"), {})
    (tmp_path / "c.yaml").write_text("models: [custom.safetensors]\nproposals: {}\n")
    assert classes_of_model(config=tmp_path / "c.yaml") == (("cone", "mug"), {})
    assert classes_of_model(config="best") == classes_of_model()  # one of the package's


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"nope: .*voc07"):
        classes_of_model("nope")
    (tmp_path / "c.yaml").write_text("models: [nope]\nproposals: {}\n")
    with pytest.raises(InputError, match=r"/nope: "):
        classes_of_model(config=tmp_path / "c.yaml")
    with pytest.raises(InputError, match=r"no\.yaml: .*best"):
        classes_of_model(config=tmp_path / "no.yaml")


def test_other_kinds_of_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=str(tmp_path)):
        load_model(tmp_path)
    for config, what in ((CONFIG_FOLDER / "voc07/1_rfcn.yaml", "recipe"), (DEFAULT_MODEL, "model file")):
        with pytest.raises(InputError, match=f"{config.name}: .*{what}.*--model"):
            classes_of_model(config=config)


def test_damaged_files_have_no_classes(tmp_path: Path):
    for name, content in (("a", b""), ("b", b"\xff" * 100), ("c", DEFAULT_MODEL.read_bytes()[:5000])):
        (tmp_path / name).write_bytes(content)
        assert classes_of_model(tmp_path / name) == (None, {})
        with pytest.raises(InputError):
            load_model(tmp_path / name)
    assert classes_of_model(tmp_path) == (None, {})


def test_a_file_is_found_by_its_path_or_its_bare_name(tmp_path: Path):
    assert find_model(None) == DEFAULT_MODEL
    assert find_model("voc07", tmp_path) == DEFAULT_MODEL
    assert find_model("x.safetensors", tmp_path) == tmp_path / "x.safetensors"
    assert find_model("best") == CONFIG_FOLDER / "best.yaml"


@pytest.mark.parametrize("options", [("--model", "nope"), ("--classes", "kat"), ("--config", "nope.yaml")])
def test_a_wrong_option_is_reported_without_loading_torch(options: tuple[str, str]):
    code = (
        "import sys; sys.modules['torch'] = None; from detector.cli import main; "
        f"main(['detect', 'tests/photos/cat.jpg', *{options!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
