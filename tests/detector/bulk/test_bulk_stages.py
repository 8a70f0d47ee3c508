"""The stages one after the other, without Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.bulk.listing import ImageList, walk
from detector.bulk.network import DetectorSettings, Network
from detector.bulk.stages import Proposing, Reading, Row, together
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.proposers import without_network
from detector.structures.selection import Selection
from proposals import SelectiveSearch

ROOT = Path(__file__).parents[3]


def read(folder: Path, tmp_path: Path, *names: str | InputError) -> list[Row]:
    images = ImageList(tmp_path / "images.jsonl")
    images.write({}, names or walk([str(folder)]))
    (shard,) = images.shards(100, 9)
    return list(Reading(images, folder).rows(shard))


def entries(rows: list[Row]) -> dict[str, Any]:
    found = {entry["image"]: entry for entry in (json.loads(row["line"]) for row in rows)}
    return {name: {k: v for k, v in entry.items() if k != "seconds"} for name, entry in found.items()}


@pytest.mark.parametrize("batch", [1, 4])
def test_they_find_what_one_process_finds(folder, alone, tmp_path, monkeypatch, batch):
    proposer = without_network(load_pipeline(device="cpu").proposer)
    assert proposer is not None
    rows = Proposing(proposer).rows(read(folder, tmp_path))
    network = Network(DetectorSettings(device="cpu"))
    monkeypatch.setattr(SelectiveSearch, "__call__", lambda self, pixels: pytest.fail("boxes are there already"))
    done = [row for start in range(0, len(rows), batch) for row in network.rows(rows[start : start + batch])]
    assert [(row["shard"], row["index"]) for row in done] == [(0, index) for index in range(11)]
    found = entries(done)
    wrong = found.pop(str(folder / "cut.jpg"))
    assert wrong["error"].startswith(f"{folder}/cut.jpg: damaged or cut short")
    assert any(entry["detections"] for entry in alone.values())
    if batch == 1:
        assert found == alone
        return
    for name, entry in found.items():  # a batch is the same to the rounding of its numbers
        for one, other in zip(entry["detections"], alone[name]["detections"], strict=True):
            assert one["label"] == other["label"]
            assert one["score"] == pytest.approx(other["score"], abs=0.01)


def test_files_that_cannot_be_read(folder, tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate((1 << 30) + 1)
    names = ["gone.jpg", "folder.jpg", "pipe.jpg", "huge.jpg", "a\0b.jpg", "gone-\udcff.jpg"]
    rows = read(tmp_path, tmp_path, *names, InputError("photos: cannot be listed (Permission denied)"))
    *errors, folder_error = [json.loads(row["line"]) for row in rows]
    assert folder_error == {"image": None, "error": "photos: cannot be listed (Permission denied)"}
    assert [one["image"] for one in errors] == names
    assert [one["error"].split(": ", 1)[1][:16] for one in errors] == [
        "cannot be read (",
        "not a regular fi",
        "not a regular fi",
        "1073741825 bytes",
        "cannot be read (",
        "cannot be read (",
    ]
    assert Proposing(lambda pixels: pytest.fail("nothing to propose for")).rows(rows) == rows


def test_what_is_wanted_is_selected_and_checked(folder, tmp_path):
    rows = read(folder, tmp_path, "0.jpg")
    settings = DetectorSettings(device="cpu", selection=Selection(0.05, max_detections=1))
    (row,) = Network(settings).rows(rows)
    assert len(json.loads(row["line"])["detections"]) == 1
    with pytest.raises(InputError, match="class 'lion' is unknown"):
        DetectorSettings(device="cpu", selection=Selection(classes=("lion",))).load()


def test_reading_and_proposing_do_without_torch():
    program = "import sys, detector.bulk.stages; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0


def test_an_error_that_nobody_expects_keeps_its_reason(folder, tmp_path, monkeypatch):
    rows = read(folder, tmp_path, "0.jpg", "1.jpg")

    def broken(*_: Any) -> Any:
        raise KeyError("a mistake")

    for row in Proposing(broken).rows(rows):
        assert json.loads(row["line"])["error"].endswith(".jpg: detection failed (KeyError: 'a mistake')")
    network = Network(DetectorSettings(device="cpu"))
    monkeypatch.setattr(network._detector, "score_batch", broken)
    for row in network.rows(rows):
        assert json.loads(row["line"])["error"].endswith(".jpg: detection failed (KeyError: 'a mistake')")


def test_a_file_that_grows_is_read_no_further(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(bytes(100))
    isfile = os.path.isfile

    def grows(path: str) -> bool:
        with open(path, "ab") as file:
            file.truncate(1 << 30)
        return isfile(path)

    monkeypatch.setattr(os.path, "isfile", grows)
    (row,) = read(tmp_path, tmp_path, "a.jpg")
    assert json.loads(row["line"])["error"] == "a.jpg: grew while it was read; wait until it is written"
    assert row["content"] is None


def test_a_gpu_that_is_lost_ends_its_process(folder, tmp_path, monkeypatch):
    network = Network(DetectorSettings(device="cpu"))
    ended: list[int] = []
    lost = RuntimeError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setattr(network._detector, "score_batch", lambda ready: (_ for _ in ()).throw(lost))
    monkeypatch.setattr(network._detector, "device", torch.device("cuda"))
    monkeypatch.setattr(os, "_exit", ended.append)
    rows = read(folder, tmp_path, "0.jpg")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    network.rows(rows)
    assert ended == [], "only this photo's pass has failed, perhaps for lack of memory"
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: (_ for _ in ()).throw(lost))
    network.rows(rows)
    assert ended == [1]


def test_large_files_go_on_one_by_one():
    rows = [{"content": bytes(size)} for size in (1, 1, 9, 9, 1, 1, 1, 1)] + [{"content": None}]
    assert [len(some) for some in together(rows, most=3, size=10)] == [2, 1, 2, 3, 1]
