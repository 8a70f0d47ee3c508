"""Poor environments: each is a new process that detects in a photo with a name beyond ASCII, with the usual result."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
main(["detect", sys.argv[1], "--json", "f.json", "--voc", "voc", "--csv", "f.csv", "--out", "out"])
"""
_THREAD = """
import threading
def work():
    from detector import load_detector
    json.dump([load_detector(device="cpu")(sys.argv[1]).to_dict()], open("f.json", "w"))
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
    json.dump([first], open("f.json", "w"))
"""
# Runs a program in a child and prints the child's peak memory in KiB, not its own, as the last line of errors.
_MEASURED = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *sys.argv[1:]])
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def nothing() -> None:
    pass


def without_network() -> None:
    """Leaves the process only its loopback, where that is allowed; otherwise makes every proxied connection fail."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        os.environ["http_proxy"] = os.environ["https_proxy"] = "http://127.0.0.1:9"


def closed_home() -> None:
    """File permissions hold for root, too."""
    if os.geteuid() == 0:
        drop_privileges()


def worst() -> None:
    without_network()
    closed_home()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


# CLOSED stands for a folder that cannot be written.
HOME = {"HOME": "CLOSED", "XDG_CACHE_HOME": "CLOSED/cache", "TMPDIR": "CLOSED"}
LOCALE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("variables", "prepare", "program", "size"),
    [
        pytest.param({}, nothing, _COMMAND, None, id="no HOME and no variables"),
        pytest.param(HOME, closed_home, _COMMAND, None, id="read-only home"),
        pytest.param(LOCALE, nothing, _COMMAND, None, id="a locale without UTF-8"),
        pytest.param({}, without_network, _COMMAND, None, id="no network"),
        pytest.param({**HOME, **LOCALE}, worst, _COMMAND, None, id="all of these on one core"),
        pytest.param({}, nothing, _THREAD, None, id="imported in a thread"),
        pytest.param({}, nothing, _POOL.replace("KIND", "fork"), None, id="after a fork"),
        pytest.param({}, nothing, _POOL.replace("KIND", "spawn"), None, id="after a spawn"),
        pytest.param({}, nothing, _COMMAND, (4000, 3000), id="memory: 12 megapixels"),
        pytest.param({}, nothing, _COMMAND, (8000, 6000), id="memory: 48 megapixels"),
    ],
)
def test_the_usual_result(
    variables: dict[str, str],
    prepare: Callable[[], None],
    program: str,
    size: tuple[int, int] | None,
    tmp_path: Path,
):
    """`variables` are all there are but PATH; `prepare` is called in the process; `size`: of a larger photo."""
    (tmp_path / "closed").mkdir(mode=0o555)
    shutil.copy(ROOT / "tests/photos/cat.jpg", tmp_path / PHOTO)
    if size is not None:
        Image.open(tmp_path / PHOTO).resize(size).save(tmp_path / PHOTO, quality=80)
    (tmp_path / "program.py").write_text(f"import json, sys\n{program}", encoding="utf-8")
    given = {name: value.replace("CLOSED", str(tmp_path / "closed")) for name, value in variables.items()}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, "program.py", PHOTO],
        cwd=tmp_path,
        env={"PATH": os.environ.get("PATH", ""), **given, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=prepare,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert int(done.stderr.strip().splitlines()[-1]) << 10 <= MEMORY
    (entry,) = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    if program == _COMMAND:
        assert entry["image"].encode("utf-8", "surrogateescape") == PHOTO.encode()  # bytes where text is ASCII
        assert [path.name for path in (tmp_path / "voc").iterdir()] == [PHOTO.replace("jpg", "xml")]
    (detection,) = entry["detections"] if isinstance(entry, dict) else entry
    assert detection["label"] == "cat"
    if size is None:
        assert detection["box"] == pytest.approx(CAT, abs=CLOSE)
