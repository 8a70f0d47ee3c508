from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from detector.config import CONFIG_FOLDER, InputConfig, ModelConfig
from detector.errors import InputError
from detector.models.rfcn import RFCN
from detector.models.weights import Model, load_model, save_model


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    config = ModelConfig(input=InputConfig(short_side=123))
    return Model(RFCN(2, config.network).eval(), config, ("gr\u00fcn", "blue"), {"mAP": 0.5})


@pytest.fixture
def path(model: Model, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def edit(path: Path, change: dict[str, torch.Tensor | None], metadata: dict[str, str] | None = None) -> Path:
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
    tensors = {k: v for k, v in {**load_file(path), **change}.items() if v is not None}
    save_file(tensors, path, {**header, **(metadata or {})})
    return path


def test_round_trip(model: Model, path: Path):
    assert {t.dtype for t in load_file(path).values()} == {torch.float16}
    loaded = load_model(path)
    assert (loaded.config, loaded.class_names, loaded.metadata) == (model.config, model.class_names, model.metadata)
    assert not loaded.network.training
    for (name, ours), theirs in zip(
        model.network.state_dict().items(), loaded.network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours.half().float(), theirs, rtol=0, atol=0, msg=name)


def test_a_configuration_is_refused():
    with pytest.raises(InputError, match=r"best\.yaml: .*--config"):
        load_model(CONFIG_FOLDER / "best.yaml")


@pytest.mark.parametrize("size", [0, 1000, 1_000_000])
def test_truncated_file(path: Path, size: int):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"m\.safetensors: not a readable model file") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "remedy"), [("m.onnx", "--engine"), ("m.pt", r"\.safetensors")])
def test_file_of_another_format(tmp_path: Path, name: str, remedy: str):
    (tmp_path / name).write_bytes(b"PK" * 100)
    with pytest.raises(InputError, match=f"{name}: .*{remedy}"):
        load_model(tmp_path / name)


def test_safetensors_of_another_kind(tmp_path: Path):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="not a model of this project"):
        load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone.conv1.bias": None}, r"tensor 'backbone\.conv1\.bias' is missing"),
        ({"backbone.conv1.bias": torch.zeros(3)}, r"tensor 'backbone\.conv1\.bias' has shape \(3,\), not \(64,\)"),
        ({"extra": torch.zeros(3)}, "unknown tensor 'extra'"),
        ({"backbone.conv1.bias": torch.full((64,), torch.nan)}, "'backbone.conv1.bias'.*finite"),
    ],
)
def test_wrong_tensors(path: Path, change: dict[str, torch.Tensor | None], message: str):
    with pytest.raises(InputError, match=message):
        load_model(edit(path, change))


def test_category_ids_are_kept(model: Model, path: Path):
    assert load_model(path).class_ids == ()
    save_model(replace(model, class_ids=(17, "b")), path)
    assert load_model(path).class_ids == (17, "b")


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"metadata": "[1]"}, "metadata"),
        ({"config": '{"sharpness": 1}'}, r"key 'sharpness' is unknown"),
        ({"config": "{"}, "not a readable model file"),
        ({"classes": '["one"]'}, "tensor '.*' has shape"),
        ({"classes": "7"}, "classes"),
        ({"config": '{"postprocess": {"class_calibrations": [[1, 0], [1, 0], [1, 0]]}}'}, "class_calibrations"),
        ({"kind": "crops"}, "key"),
        ({"kind": "x"}, "x"),
        *(({"class_ids": ids}, "class_ids") for ids in ("[17]", "[17, 17]", "[1.5, 2]", "7")),
    ],
)
def test_wrong_header_fields_are_named(path: Path, metadata: dict[str, str], field: str):
    with pytest.raises(InputError, match=rf"m\.safetensors: .*{field}"):
        load_model(edit(path, {}, metadata))
