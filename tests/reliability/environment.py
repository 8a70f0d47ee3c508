"""Poor surroundings: `python -m tests.reliability.environment`.

Each condition is a new process that detects in a photo with a name beyond ASCII and must give the usual result:
without HOME, with a home and a temporary folder that cannot be written, in a locale without UTF-8, without network, on
one core, within 2 GiB of memory for photos of up to 48 megapixels, imported in a thread, and after a fork or a spawn.
"""

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tests.reliability.nursery import ROOT, drop_powers
from tests.reliability.table import Row, Timer, report

MEMORY = 2 << 30
PHOTO = "Kätzchen 猫.jpg"

_COMMAND = """
from detector.cli import main
main(sys.argv[1:])
"""
_THREAD = """
import threading
def work():
    try:
        from detector import load_detector
        print(json.dumps(load_detector(device="cpu")(sys.argv[1]).to_dict()))
    except BaseException as error:
        print(json.dumps(repr(error)))
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
_FORK = """
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


@dataclass(frozen=True)
class Surroundings:
    """What a process has to do with.

    Attributes:
        environment: all its variables.
        prepare: what it does before anything else.
        program: Python; by default the command `detect`.
        photo: a photo to make in place of the cat, by its width and height.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    program: str = _COMMAND
    photo: tuple[int, int] | None = None


def without_network() -> None:
    """Leaves the process with no network but itself, where that is allowed; else every connection fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) == 0:  # CLONE_NEWNET
        return
    os.environ["http_proxy"] = os.environ["https_proxy"] = "http://127.0.0.1:9"


def closed_home() -> None:
    """Root, too, may write only where access rights let it."""
    if os.geteuid() == 0:
        drop_powers()


def all_surroundings(folder: Path) -> list[Surroundings]:
    closed = folder / "closed"
    closed.mkdir(exist_ok=True)
    closed.chmod(0o555)
    path = {"PATH": os.environ.get("PATH", "")}
    locale = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    home = {"HOME": str(closed), "XDG_CACHE_HOME": str(closed / "cache"), "TMPDIR": str(closed)}
    one_core = min(os.sched_getaffinity(0))
    return [
        Surroundings("no HOME and no variables", path),
        Surroundings("read-only home", {**path, **home}, closed_home),
        Surroundings("a locale without UTF-8", {**path, **locale}),
        Surroundings("no network", path, without_network),
        Surroundings("one core", path, lambda: os.sched_setaffinity(0, {one_core})),
        Surroundings("imported in a thread", path, program=_THREAD),
        Surroundings("after a fork", path, program=_FORK.replace("KIND", "fork")),
        Surroundings("after a spawn", path, program=_FORK.replace("KIND", "spawn")),
        Surroundings("memory: 12 megapixels", path, photo=(4000, 3000)),
        Surroundings("memory: 48 megapixels", path, photo=(8000, 6000)),
    ]


def everything_at_once(folder: Path) -> Surroundings:
    """The first four in one process."""
    first = all_surroundings(folder)[1:4]

    def prepare() -> None:
        without_network()
        closed_home()

    return Surroundings("all at once", {**first[0].environment, **first[1].environment}, prepare)


def run(one: Surroundings, folder: Path) -> tuple[subprocess.CompletedProcess[str], int, Any]:
    """The process, its highest memory in bytes, and its result."""
    place = Path(tempfile.mkdtemp(dir=folder))
    if one.photo is None:
        shutil.copy(ROOT / "tests/photos/cat.jpg", place / PHOTO)
    else:
        with Image.open(ROOT / "tests/photos/cat.jpg") as cat:
            cat.resize(one.photo).save(place / PHOTO, quality=80)
    program = place / "program.py"
    program.write_text(f"import json, sys\n{one.program}", encoding="utf-8")
    arguments = [PHOTO]
    if one.program == _COMMAND:
        arguments = ["detect", PHOTO, "--json", "f.json", "--voc", "voc", "--csv", "f.csv", "--out", "out"]
    watched = "import os,sys;sys.stdout.flush();p=os.spawnv(os.P_NOWAIT,sys.executable,[sys.executable,*sys.argv[1:]]);"
    watched += "_,s,u=os.wait4(p,0);print(u.ru_maxrss,file=sys.stderr);sys.exit(os.waitstatus_to_exitcode(s))"
    done = subprocess.run(
        [sys.executable, "-c", watched, str(program), *arguments],
        cwd=place,
        env={**one.environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=one.prepare,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=600,
    )
    memory = int(done.stderr.strip().splitlines()[-1]) << 10
    result: Any = None
    if done.returncode == 0:
        if one.program == _COMMAND:
            (entry,) = json.loads((place / "f.json").read_text(encoding="utf-8"))
            called = entry["image"].encode("utf-8", "surrogateescape")  # bytes, where text is ASCII
            result = entry["detections"] if called == PHOTO.encode() else f"the photo is called {called!r}"
            if sorted(path.name for path in (place / "voc").iterdir()) != [PHOTO.replace("jpg", "xml")]:
                result = "VOC's file has another name"
        else:
            result = json.loads(done.stdout.splitlines()[-1])
    return done, memory, result


def try_one(one: Surroundings, folder: Path) -> Row:
    row = Row(one.name, tried=1)
    with Timer() as timer:
        done, memory, result = run(one, folder)
    row.took(timer.seconds)
    row.notes = f"{memory >> 20} MiB"
    if done.returncode:
        row.crash(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}")
    elif isinstance(result, str) or [item["label"] for item in result] != ["cat"]:
        row.fault(f"the result is {str(result)[:300]}")
    elif one.photo is None and max(abs(a - b) for a, b in zip(result[0]["box"], CAT, strict=True)) > CLOSE:
        row.fault(f"the cat is at {result[0]['box']}")
    if memory > MEMORY:
        row.fault(f"{memory >> 20} MiB of memory")
    if "Traceback" in done.stderr:
        row.fault(f"a traceback: {done.stderr.strip()[-300:]}")
    return row


#: Extent of the cat in its photo of 451x300 pixels, measured by hand, and how close a model comes.
CAT, CLOSE = (0, 5, 451, 300), 40


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.environment", description=__doc__)
    parser.add_argument("--only", help="conditions with this in their name")
    options = parser.parse_args(arguments)
    with Timer() as timer, tempfile.TemporaryDirectory() as made:
        everything = [*all_surroundings(Path(made)), everything_at_once(Path(made))]
        chosen = [one for one in everything if options.only is None or options.only in one.name]
        rows = [try_one(one, Path(made)) for one in chosen]
    return report(rows, timer.seconds)


if __name__ == "__main__":
    sys.exit(main())
