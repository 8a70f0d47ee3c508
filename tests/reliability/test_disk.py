"""Bad disks: full, read-only, with files that cannot be read, vanish, change or come slowly.

Each must end in one clear line and exit code 2 with everything else done, and be resumable where that is possible. A
full disk is a small tmpfs where one may be mounted, otherwise a limit on the size of files.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.reliability.commands import EXPORT, Command, cache, detect, draw_photos, evaluate, half_written, train
from tests.reliability.fork_server import Child, Ended, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("server")]


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], None] | None]:
    """A file system of `size` bytes at `folder`; gives what enlarges it. None where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True) and None  # type: ignore[func-returns-value]
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    ("command", "size", "outputs"),
    [
        (detect(8), 120_000, ("out", "r")),
        (cache(8), 60_000, ("cache", "r")),
        (evaluate(16), 16_384, ("r",)),
        (train(4), 100 << 20, ("run",)),
        (EXPORT, 8 << 20, ("r",)),
    ],
    ids=str,
)
def test_a_full_disk(command: Command, size: int, outputs: tuple[str, ...], tmp_path: Path):
    """Then the same command with enough space."""
    whole = command.new_folder(tmp_path / "whole")
    assert run(command.arguments, whole).code == 0
    folder = command.new_folder(tmp_path / "full")
    with small_disk(tmp_path / "disk", size) as enlarge:
        for name in outputs:
            if (folder / name).exists():
                (folder / name).rmdir()
            target = tmp_path / ("disk" if enlarge else "large") / name
            target.mkdir(parents=True)
            (folder / name).symlink_to(target)
        ended = run(command.arguments, folder, file_size=None if enlarge else size // 16)
        assert ended.faults("No space left on device" if enlarge else "File too large") == []
        assert list(half_written(folder)) == []
        if enlarge is not None:
            enlarge()
        again = run(command.arguments, folder)
        assert again.code == 0, again.errors
        assert command.outcome(folder) == command.outcome(whole)


@pytest.mark.parametrize(
    ("command", "output"),
    [(detect(2), "out"), (evaluate(2), "r"), (train(2), "run"), (cache(2), "cache"), (EXPORT, "r")],
    ids=str,
)
def test_a_read_only_folder(command: Command, output: str, tmp_path: Path):
    folder = command.new_folder(tmp_path / "folder")
    (folder / output).mkdir(exist_ok=True)
    (folder / output).chmod(0o555)
    try:
        ended = run(command.arguments, folder, unprivileged=True)
    finally:
        (folder / output).chmod(0o755)
    assert ended.faults(output) == []
    assert list((folder / output).iterdir()) == []


def detected(path: Path) -> list[str]:
    return [Path(entry["image"]).name for entry in json.loads(path.read_text())]


def wait_for(path: Path, text: str) -> None:
    for _ in range(2000):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.005)
    raise RuntimeError(f"{path} never had {text}")


def test_photos_and_folders_that_cannot_be_read(tmp_path: Path):
    """Without permission, a broken link and a loop of links; the rest are done."""
    draw_photos(tmp_path / "photos", 4)
    draw_photos(tmp_path / "photos/closed", 1)
    (tmp_path / "photos/001.jpg").chmod(0)
    (tmp_path / "photos/closed").chmod(0)
    (tmp_path / "photos/gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "photos/loop.jpg").symlink_to("loop.jpg")
    arguments = ["detect", "photos", "--recursive", "--out", "out", "--json", "f.json"]
    try:
        ended = run(arguments, tmp_path, unprivileged=True)
    finally:
        (tmp_path / "photos/closed").chmod(0o755)
    assert ended.faults("001.jpg", "photos/closed", "gone.jpg", "loop.jpg") == []
    assert detected(tmp_path / "f.json") == ["000.jpg", "002.jpg", "003.jpg"]


def test_photos_vanish_and_change(tmp_path: Path):
    """While the first photos are processed, later ones are removed, cut and replaced."""
    names = draw_photos(tmp_path / "photos", 16)
    child = Child(["detect", "photos", "--out", "out", "--json", "f.json"], tmp_path)
    wait_for(child.log.with_suffix(".out"), "000.jpg")
    removed, cut, replaced = names[-1], names[-2], names[-3]
    (tmp_path / "photos" / removed).unlink()
    os.truncate(tmp_path / "photos" / cut, 300)
    Image.new("RGB", (50, 40)).save(tmp_path / "new.png")
    os.replace(tmp_path / "new.png", tmp_path / "photos" / replaced)  # a PNG now, and of another size
    assert child.wait().faults(removed, cut) == []
    assert detected(tmp_path / "f.json") == names[:-2]
    assert json.loads((tmp_path / "f.json").read_text())[-1]["width"] == 50


def test_a_photo_of_a_data_set_vanishes(tmp_path: Path):
    command = evaluate(12)
    folder = command.new_folder(tmp_path / "set")
    child = Child(command.arguments, folder)
    wait_for(folder / "r/found.json.part-0", '"001"')
    (folder / "VOC/JPEGImages/011.jpg").unlink()
    assert child.wait().faults("011: ") == []
    assert detected(folder / "r/found.json") == [f"{i:03d}.jpg" for i in range(11)]


def test_a_photo_comes_slowly(tmp_path: Path):
    """Through a pipe, a piece at a time."""
    draw_photos(tmp_path / "photos", 2)
    content = (tmp_path / "photos/000.jpg").read_bytes()
    os.mkfifo(tmp_path / "slow.jpg")

    photos = ["photos/000.jpg", "slow.jpg", "photos/001.jpg"]
    child = Child(["detect", *photos, "--out", "out", "--json", "f.json"], tmp_path)
    with open(tmp_path / "slow.jpg", "wb") as pipe:
        for start in range(0, len(content), len(content) // 5):
            pipe.write(content[start : start + len(content) // 5])
            pipe.flush()
            time.sleep(0.1)
    ended = child.wait()
    assert ended.faults(code=0) == []
    assert detected(tmp_path / "f.json") == ["000.jpg", "slow.jpg", "001.jpg"]
    entries = json.loads((tmp_path / "f.json").read_text())
    assert entries[0]["detections"] == entries[1]["detections"]


def test_annotations_are_cut_while_they_are_read(tmp_path: Path):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9} for i in range(40_000)]
    content = json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": []})
    (tmp_path / "a.json").write_text(content)
    (tmp_path / "found.json").write_text("[]")
    arguments = ["evaluate", "--dataset", "coco", "--annotations", "a.json", "--detections", "found.json"]
    for _ in range(3):
        child = Child(arguments, tmp_path)
        for _ in range(40):
            os.truncate(tmp_path / "a.json", 5000)
            (tmp_path / "a.json").write_text(content)
        ended = child.wait()
        assert ended.code in (0, 2), ended.errors
        assert "Traceback" not in ended.errors


def test_a_damaged_checkpoint(tmp_path: Path):
    """One bit of the last checkpoint is wrong: the training continues from the previous one, to the same end."""
    command = train(4)
    whole, folder = command.new_folder(tmp_path / "whole"), command.new_folder(tmp_path / "damaged")
    assert run(command.arguments, whole).code == 0
    assert run(command.arguments, folder).code == 0
    path = folder / "run/checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # the checkpoint before it may be the same file
    path.write_bytes(content)
    ended = run(command.arguments, folder)
    assert ended.faults(code=0) == []
    assert "checkpoint.pt" in ended.errors
    assert command.outcome(folder) == command.outcome(whole)


def test_what_does_not_end_well_is_detected():
    good = Ended(2, 0.1, "error: a.jpg: no such file; check the path\n1 of 2 sources failed\n")
    assert good.faults("a.jpg: no such file") == []
    assert len(good.faults("b.jpg")) == 1
    assert len(Ended(1, 0.1, "Traceback (most recent call last):\nKeyError").faults()) == 2
