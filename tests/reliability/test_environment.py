"""Poor environments: each is a new process that detects in a photo with a name beyond ASCII, with the usual result."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.reliability.fork_server import ROOT, drop_privileges

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the environments are made by Linux' means"),
]

MEMORY = 2 << 30
PHOTO = "Kätzchen 猫.jpg"
# Extent of the cat in its photo of 451x300 pixels, measured by hand, and how close a model comes.
CAT, CLOSE = (0, 5, 451, 300), 40

_COMMAND = """
from detector.cli import main
main(sys.argv[1:])
"""
_THREAD = """
import threading
def work():
    from detector import load_detector
    print(json.dumps(load_detector(device="cpu")(sys.argv[1]).to_dict()))
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
_POOL = """
import multiprocessing
from detector import load_detector
def work(path):
    return load_detector(device="cpu")(path).to_dict()
if __name__ == "__main__":
    with multiprocessing.get_context("KIND").Pool(2) as pool:
        first, second = pool.map(work, [sys.argv[1]] * 2)
    assert first == second
    print(json.dumps(first))
"""
# Runs a program in a child and prints the child's peak memory in KiB, not its own, as the last line of errors.
_MEASURED = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *sys.argv[1:]])
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Environment:
    """What a process has to run with.

    Attributes:
        variables: all its environment variables, besides PATH.
        prepare: called in it before anything else.
        program: Python; by default the command `detect`.
        photo: width and height of a photo to use instead of the cat's.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    program: str = _COMMAND
    photo: tuple[int, int] | None = None


def without_network() -> None:
    """Leaves the process only its loopback, where that is allowed; otherwise makes every proxied connection fail."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        os.environ["http_proxy"] = os.environ["https_proxy"] = "http://127.0.0.1:9"


def closed_home() -> None:
    """File permissions hold for root, too."""
    if os.geteuid() == 0:
        drop_privileges()


def one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def worst() -> None:
    without_network()
    closed_home()
    one_core()


# CLOSED stands for a folder that cannot be written.
_HOME = {"HOME": "CLOSED", "XDG_CACHE_HOME": "CLOSED/cache", "TMPDIR": "CLOSED"}
_LOCALE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENVIRONMENTS = (
    Environment("no HOME and no variables"),
    Environment("read-only home", _HOME, closed_home),
    Environment("a locale without UTF-8", _LOCALE),
    Environment("no network", {}, without_network),
    Environment("all of these on one core", {**_HOME, **_LOCALE}, worst),
    Environment("imported in a thread", program=_THREAD),
    Environment("after a fork", program=_POOL.replace("KIND", "fork")),
    Environment("after a spawn", program=_POOL.replace("KIND", "spawn")),
    Environment("memory: 12 megapixels", photo=(4000, 3000)),
    Environment("memory: 48 megapixels", photo=(8000, 6000)),
)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_the_usual_result(environment: Environment, tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with Image.open(ROOT / "tests/photos/cat.jpg") as cat:
        if environment.photo is None:
            shutil.copy(ROOT / "tests/photos/cat.jpg", tmp_path / PHOTO)
        else:
            cat.resize(environment.photo).save(tmp_path / PHOTO, quality=80)
    (tmp_path / "program.py").write_text(f"import json, sys\n{environment.program}", encoding="utf-8")
    results = ["--json", "f.json", "--voc", "voc", "--csv", "f.csv", "--out", "out"]
    arguments = ["detect", PHOTO, *results] if environment.program == _COMMAND else [PHOTO]
    variables = {name: value.replace("CLOSED", str(closed)) for name, value in environment.variables.items()}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, "program.py", *arguments],
        cwd=tmp_path,
        env={"PATH": os.environ.get("PATH", ""), **variables, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=environment.prepare,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert int(done.stderr.strip().splitlines()[-1]) << 10 <= MEMORY
    (detection,) = _detections(environment, done.stdout, tmp_path)
    assert detection["label"] == "cat"
    if environment.photo is None:
        assert detection["box"] == pytest.approx(CAT, abs=CLOSE)


def _detections(environment: Environment, output: str, folder: Path) -> list[dict[str, Any]]:
    if environment.program != _COMMAND:
        return json.loads(output.splitlines()[-1])
    (entry,) = json.loads((folder / "f.json").read_text(encoding="utf-8"))
    assert entry["image"].encode("utf-8", "surrogateescape") == PHOTO.encode()  # bytes where text is ASCII
    assert [path.name for path in (folder / "voc").iterdir()] == [PHOTO.replace("jpg", "xml")]
    return entry["detections"]
