"""Models on a stand-in for the Hub, and in a folder."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from detector.errors import InputError
from detector.models.files import DEFAULT_MODEL, classes_of_model, find_model
from detector.models.hub import download, upload
from tests.hub import Hub, hub

__all__ = ["hub"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_model_goes_to_the_hub_and_comes_back(hub: Hub):
    assert upload(DEFAULT_MODEL, "me/mine") == f"{hub.address}/me/mine"
    assert hub.files["me/mine/model.safetensors"] == DEFAULT_MODEL.read_bytes()
    card = hub.files["me/mine/README.md"].decode()
    assert card.startswith("---\nlibrary_name: ")
    assert "tvmonitor" in card
    assert 'load_detector("me/mine")' in card
    assert find_model("me/mine").read_bytes() == DEFAULT_MODEL.read_bytes()
    assert classes_of_model("me/mine") == classes_of_model()


def test_a_card_that_somebody_wrote_is_kept(hub: Hub):
    hub.files["me/mine/README.md"] = b"# Mine"
    upload(DEFAULT_MODEL, "me/mine")
    assert hub.files["me/mine/README.md"] == b"# Mine"
    assert "me/mine/model.safetensors" in hub.files


def test_an_earlier_download_serves_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    upload(DEFAULT_MODEL, "me/mine")
    first = download("me/mine")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert download("me/mine") == first
    with pytest.raises(InputError, match=r"^me/other: [^\n]*Hub[^\n]*$"):
        find_model("me/other")


def test_what_the_hub_lacks_is_one_line(hub: Hub):
    with pytest.raises(InputError, match=r"^me/none: [^\n]*no such repository[^\n]*$"):
        find_model("me/none")
    hub.files["me/empty/README.md"] = b""
    with pytest.raises(InputError, match=r"^me/empty: [^\n]*model\.safetensors[^\n]*$"):
        find_model("me/empty")
    with pytest.raises(InputError, match=r"^mine: .*owner/name"):
        upload(DEFAULT_MODEL, "mine")


def test_a_hub_that_cannot_be_reached_is_one_line(hub: Hub):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(InputError, match=r"^me/mine: [^\n]*Hub[^\n]*$"):
        upload(DEFAULT_MODEL, "me/mine")


def test_without_the_extra_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("detector.models.hub.find_spec", lambda name: None if "hub" in name else find_spec(name))
    with pytest.raises(InputError, match=r"^me/mine: [^\n]*extra 'hub'[^\n]*$"):
        find_model("me/mine")
    with pytest.raises(InputError, match=r"extra 'hub'"):
        upload(DEFAULT_MODEL, "me/mine")


def test_a_file_or_folder_of_that_name_comes_first(tmp_path: Path):
    folder = tmp_path / "runs/mine"
    folder.mkdir(parents=True)
    assert find_model("runs/mine") == Path("runs/mine")  # a folder, which loading reports
    shutil.copy(DEFAULT_MODEL, folder / "model.safetensors")
    assert find_model("runs/mine") == Path("runs/mine/model.safetensors")
    for name in ("runs/none.safetensors", "runs/none.yaml", "a/b/c"):
        assert find_model(name) == Path(name)
