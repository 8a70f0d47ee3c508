"""The start of the detector in fresh processes, which are replaced by a program that counts."""

import json
import sys
from pathlib import Path

import pytest

from detector.benchmark.processes import peak_memory
from detector.benchmark.startup import measure_startup
from detector.benchmark.timing import Timing
from detector.errors import InputError
from detector.structures.image import Image

PROGRAM = """
import json, os, sys, time
from PIL import Image
with open({log!r}, "a") as log:
    model, threads = sys.argv[2], [os.environ["OMP_NUM_THREADS"], os.environ["OPENCV_FOR_THREADS_NUM"]]
    print(json.dumps([Image.open(sys.argv[1]).tobytes().hex(), model, threads]), file=log)
number = len(open({log!r}).readlines())
print(json.dumps({{"import": number, "load": 10 * number, "detect": 100 * number, "finish": time.time() + 1000,
    "peak_memory": {memory}}}))
"""


@pytest.mark.parametrize(
    ("memory", "expected"), [("number * 256.0", (512, 768)), ("None", None)], ids=["known", "unknown"]
)
def test_fresh_processes(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str, expected: tuple[float, ...] | None
) -> None:
    log = tmp_path / "log"
    program = PROGRAM.format(log=str(log), memory=memory)
    monkeypatch.setattr("detector.benchmark.startup._PROGRAM", program)
    startup = measure_startup(image, Path("m.safetensors"), repeats=2, threads=3)
    *parts, whole = startup.timings
    assert parts == [  # the first of three processes was the warm-up
        Timing("start: import", (2, 3)),
        Timing("start: load the detector", (20, 30)),
        Timing("start: first detection", (200, 300)),
    ]
    assert whole.name == "start: process to first result"
    assert len(whole.seconds) == 2
    assert min(whole.seconds) > 1000
    assert startup.peak_memory == expected
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries == [[image.pixels.tobytes().hex(), "m.safetensors", ["3", "3"]]] * 3


def test_a_fresh_process_that_fails(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.benchmark.startup._PROGRAM", "print('half'); raise MemoryError('all is used')")
    with pytest.raises(InputError, match=r"^detection in a fresh process failed: MemoryError: all is used$"):
        measure_startup(image, None, repeats=1, threads=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compares with what Linux tells")
def test_peak_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    def no_such_file(*_: object, **__: object) -> None:
        raise FileNotFoundError

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    peak = peak_memory()
    assert peak is not None
    assert pages * resource.getpagesize() / 2**20 <= peak + 1
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("builtins.open", no_such_file)
        without_proc = peak_memory()
        elsewhere.setitem(sys.modules, "resource", None)
        assert peak_memory() is None
    assert without_proc == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert without_proc >= peak - 1
