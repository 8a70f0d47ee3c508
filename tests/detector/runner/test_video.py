"""Videos in and out: what is read again is what was written; damage, a missing camera and a full disk are one line."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.errors import InputError
from detector.runner.video import Frame, Video, VideoReader, VideoWriter

GRAYS = [20 + 4 * index for index in range(40)]


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """A video of 64x48 pixels, 10 frames a second; frame `i` is of the gray GRAYS[i], with noise in a corner."""

    def make(name: str = "clip.avi", code: str = "MJPG", frames: int = 40) -> Path:
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (64, 48))
        noise = np.random.default_rng(3)
        for gray in GRAYS[:frames]:
            pixels = np.full((48, 64, 3), gray, np.uint8)
            pixels[:16, :16] = noise.integers(0, 255, (16, 16, 3))
            writer.write(pixels)
        writer.release()
        return path

    return make


def grays(reader: VideoReader) -> list[int]:
    return [round(float(frame.image.pixels[24:, 24:].mean())) for frame in reader.frames()]


@pytest.mark.parametrize(
    ("name", "code", "step"), [("clip.avi", "MJPG", 15), ("clip.mp4", "mp4v", 1), ("été 日本.mkv", "mp4v", 1)]
)
def test_frames_in_order_with_their_times(make_video, name, code, step):
    path = make_video(name, code)
    with Video(path).open() as reader:
        assert (reader.frame_rate, reader.frame_count) == (10, 40)
        frames = list(reader.frames(step))
    indices = list(range(0, 40, step))
    assert [frame.index for frame in frames] == indices
    assert [frame.time for frame in frames] == pytest.approx([index / 10 for index in indices], abs=0.01)
    assert [frame.image.pixels[24:, 24:].mean() for frame in frames] == pytest.approx(GRAYS[::step], abs=5)
    assert frames[1].name == f"{path}#{step}"


def test_frames_come_one_at_a_time(make_video):
    """A frame is not decoded before it is asked for: memory does not grow with the video."""
    with Video(make_video()).open() as reader:
        frames = reader.frames()
        assert next(frames).index == 0
        assert reader._capture.get(cv2.CAP_PROP_POS_FRAMES) == 1


@pytest.mark.parametrize(("name", "code"), [("clip.avi", "MJPG"), ("clip.mkv", "mp4v")])
def test_a_video_that_is_cut_short_gives_what_there_is_and_says_so(make_video, name, code):
    path = make_video(name, code)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen: list[int] = []
    with Video(path).open() as reader, pytest.raises(InputError) as caught:
        seen.extend(frame.index for frame in reader.frames())
    assert 10 < len(seen) < 30
    assert str(caught.value).startswith(f"{path}: damaged or cut short: {40 - len(seen)} of 40 frames cannot be read;")


def test_a_video_that_is_corrupt_in_the_middle(make_video):
    path = make_video("clip.mp4", "mp4v")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 8] = bytes(len(content) // 8)
    path.write_bytes(content)
    with Video(path).open() as reader, pytest.raises(InputError, match=r"damaged or cut short: \d+ of 40 frames"):
        list(reader.frames())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"not a video", "not a video in a known format"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (None, "no such file"),
    ],
)
def test_files_that_are_not_videos(tmp_path, content, message):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path}: .*{message}"):
        Video(path).open()


def test_a_camera_that_is_not_there():
    with pytest.raises(InputError, match=r"^camera 97: cannot be opened; check that it is connected"):
        Video(None, 97).open()


def test_opencv_and_ffmpeg_are_silent(make_video, tmp_path):
    """All there is to say is in our one line. In a process of its own, for FFmpeg takes its level once."""
    for name, code in (("a.mp4", "mp4v"), ("b.avi", "MJPG"), ("c.mkv", "mp4v")):
        content = bytearray(make_video(name, code).read_bytes())
        middle = len(content) // 2
        content[middle : middle + 500] = bytes(500)
        (tmp_path / name).write_bytes(content[: middle + 700] if code == "MJPG" else content)
    (tmp_path / "d.mp4").write_text("no video")
    program = f"""
from pathlib import Path
from detector.errors import InputError
from detector.runner.video import Video
videos = [Video(path) for path in sorted(Path({str(tmp_path)!r}).iterdir())]
for video in [*videos, Video(None, 97)]:
    try:
        with video.open() as reader:
            for frame in reader.frames():
                pass
    except InputError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 3


def test_a_camera_that_is_unplugged(make_video, monkeypatch):
    """The end of a camera's frames is a fault, and their times are those of a clock."""
    path = str(make_video())
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda number, *backend: opened(path) if number == 0 else None)
    seen: list[Frame] = []
    with Video(None).open() as reader, pytest.raises(InputError, match=r"^camera 0: .*frames"):
        seen.extend(reader.frames())
    assert (reader.frame_count, len(seen)) == (None, 40)
    assert 0 <= seen[0].time <= seen[-1].time < 3
    assert seen[0].image.name == "camera0#0"


@pytest.mark.parametrize("size", [(64, 48), (65, 47)])
def test_written_and_read_again(tmp_path, size):
    """Colors are RGB. Encoders want even sizes: a row or column is repeated."""
    colors = [(gray, 60, 200 - gray) for gray in GRAYS[:10]]
    with VideoWriter(tmp_path / "out.mp4", 12.5) as writer:
        for color in colors:
            writer.write(np.full((size[1], size[0], 3), color, np.uint8))
    with Video(tmp_path / "out.mp4").open() as reader:
        assert (reader.frame_rate, reader.frame_count) == (12.5, 10)
        frames = list(reader.frames())
    assert frames[0].image.pixels.shape == (48, size[0] + size[0] % 2, 3)
    np.testing.assert_allclose([frame.image.pixels.mean(axis=(0, 1)) for frame in frames], colors, atol=6)
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("count", [0, 7])
def test_whatever_ends_the_work_what_was_written_can_be_played(tmp_path, count):
    """Without frames there is no file."""
    with suppress(KeyboardInterrupt), VideoWriter(tmp_path / "out.mp4", 10) as writer:
        for gray in GRAYS[:count]:
            writer.write(np.full((48, 64, 3), gray, np.uint8))
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["out.mp4"][:count]
    if count:
        with Video(tmp_path / "out.mp4").open() as reader:
            assert len(grays(reader)) == count


def test_a_full_disk(tmp_path, monkeypatch):
    """OpenCV would not tell. What was written until then is kept."""
    writer = VideoWriter(tmp_path / "out.mp4", 10)
    pixels = np.zeros((48, 64, 3), np.uint8)
    for _ in range(3):
        writer.write(pixels)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 1000}))
    with pytest.raises(InputError, match=r"out.mp4: cannot be written \(No space left on device\)"):
        writer.write(pixels)
    writer.close()
    with Video(tmp_path / "out.mp4").open() as reader:
        assert len(grays(reader)) == 3


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(InputError, match=r"out.mp4: cannot be written \(No such file or directory\)"):
        VideoWriter(tmp_path / "gone" / "out.mp4", 10).write(np.zeros((48, 64, 3), np.uint8))


def test_frames_of_another_size_are_refused(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", 10) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        with pytest.raises(InputError, match="frames of 32x48 pixels after 64x48"):
            writer.write(np.zeros((48, 32, 3), np.uint8))


def test_a_cameras_pace_is_kept(tmp_path):
    """Frames that came late are repeated, so that a second takes a second."""
    with VideoWriter(tmp_path / "out.mp4", 10) as writer:
        for index, time in enumerate((0, 0.02, 0.5, 1.9)):
            writer.write(np.full((48, 64, 3), GRAYS[10 * index], np.uint8), until=time)
    with Video(tmp_path / "out.mp4").open() as reader:
        found = grays(reader)
    assert len(found) == 20
    assert found == pytest.approx([GRAYS[0]] + [GRAYS[20]] * 5 + [GRAYS[30]] * 14, abs=5)
