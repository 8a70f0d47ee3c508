"""Detections that come through a pipe: opened once, a part at a time, and none of them lost."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from detector.data.detection_table import DetectionTable
from detector.data.formats import FORMATS, Format, read_detections, write_detections
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="pipes have no paths here")

Pipe = Callable[[Path, bytes], Path]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Makes a pipe such as the shell's <(cat file), of which a reader gets a few bytes first."""
    with ExitStack() as stack:

        def make(path: Path, content: bytes) -> Path:
            out, into = os.pipe()
            stack.callback(os.close, out)

            def write() -> None:
                with open(into, "wb", buffering=0) as file:
                    for part in (content[:3], content[3:40], content[40:]):
                        file.write(part)

            threading.Thread(target=write, daemon=True).start()
            path.symlink_to(f"/dev/fd/{out}")
            return path

        yield make


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("count", [1, 4096])
@pytest.mark.parametrize("format_", FORMATS)
def test_a_pipe_is_read_as_its_file_is(
    truth: GroundTruth, tmp_path: Path, pipe: Pipe, format_: Format, count: int, named: bool
) -> None:
    boxes = np.arange(count)[:, None] % 50 + np.array([0, 0, 20.5, 30.5])
    table = DetectionTable(
        image_ids=truth.image_ids, class_names=truth.class_names, images=np.zeros(count), labels=np.zeros(count),
        boxes=boxes, scores=np.linspace(0.1, 0.9, count),
    )  # fmt: skip
    path = tmp_path / "found"
    write_detections(path, table, truth, format_)
    if path.is_dir():  # of one class or image, after which the pipe is named
        path = path / {"voc": "comp4_det_test_cat.txt", "yolo": "a.txt"}[format_]
    content = path.read_bytes()
    assert count == 1 or len(content) > 1 << 16
    given = format_ if named or format_ == "yolo" else None
    (tmp_path / "pipes").mkdir()
    found = read_detections(pipe(tmp_path / "pipes" / path.name, content), truth, given)
    assert (found.format, len(found.table)) == (format_, count)
    expected = read_detections(path, truth, format_).table
    np.testing.assert_array_equal(found.table.boxes, expected.boxes)
    np.testing.assert_array_equal(found.table.scores, expected.scores)


def test_an_empty_pipe(truth: GroundTruth, tmp_path: Path, pipe: Pipe) -> None:
    with pytest.raises(InputError, match="pipe: is empty"):
        read_detections(pipe(tmp_path / "pipe", b""), truth)
