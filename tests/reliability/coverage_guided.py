"""Files changed as the code that they reach suggests: `python -m tests.reliability.fuzz --engine atheris`.

atheris (libFuzzer) keeps what reaches new lines of the readers and changes that further, with the mutations of
`mutation` and its own. A process a reader, which says what it has found in a folder: `count`, the number of inputs, and
for each kind of error its input and a text. It needs `pip install atheris`, which has wheels for Linux.
"""

import argparse
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.reliability.nursery import ROOT, memory_of_this_process
from tests.reliability.table import Row

SECONDS, MEMORY = 10, 2048
"""Of one input, in MiB beyond those of the process before. The clock counts, also while other programs run."""


def fuzz_by_coverage(name: str, seconds: float, seed: int, folder: Path) -> Row:
    """Reads inputs for some seconds in another process; findings stay in the folder.

    Args:
        name: of the target.
    """
    row = Row(f"fuzz: {name}")
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 1:
        command = ["-m", "tests.reliability.coverage_guided", name, str(folder), f"--seconds={left:.0f}"]
        done = subprocess.run([sys.executable, *command, f"--seed={seed}"], cwd=ROOT, capture_output=True, text=True)
        seed += 1
        row.tried += int((folder / "count").read_text() or 0) if (folder / "count").exists() else 0
        if done.returncode:  # it goes on with another seed after a death, a late input or too much memory
            reason = [line for line in done.stderr.splitlines() if "ERROR:" in line or "Error" in line]
            row.crash(f"{reason[-1] if reason else done.stderr[-200:]} ({folder})")
            if not row.tried:
                break
    for text in sorted(folder.glob("error-*.txt")):
        row.crash(f"{text.with_suffix('')}: {text.read_text()}")
    row.notes = f"{len(list((folder / 'corpus').glob('*')))} inputs that reach something new"
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    import atheris

    with atheris.instrument_imports(
        include=["detector", "proposals", "defusedxml", "PIL"], enable_loader_override=False
    ):
        from detector.errors import InputError
        from tests.reliability.fuzz_targets import all_targets
        from tests.reliability.mutation import mutate

        (target,) = (one for one in all_targets() if one.name == options.target)

    names = [name for name in sorted(target.files) if name not in target.unchanged]
    others = [target.files[name] for name in names]
    place, corpus = options.folder / "files", options.folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for name, content in target.files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    for number, name in enumerate(names):  # the first byte of an input says which file it is
        (corpus / f"seed-{number}").write_bytes(bytes([number]) + target.files[name])
    counter = (options.folder / "count").open("w")
    count = 0

    def read(data: bytes) -> None:
        nonlocal count
        count += 1
        counter.seek(0)
        counter.write(str(count))
        counter.flush()
        if not data:
            return
        name = names[data[0] % len(names)]
        (place / name).write_bytes(data[1:])
        try:
            target.read(place, place / name)
        except InputError as refused:
            if "\n" in str(refused) and len(getattr(refused, "faults", ())) == 0:
                found("several-lines", name, data, str(refused))
        except Exception as other:
            frame = [one for one in traceback.extract_tb(other.__traceback__) if "site-packages" not in one.filename][
                -1
            ]
            where = f"{type(other).__name__}-{Path(frame.filename).stem}-{frame.lineno}"
            found(where, name, data, f"{type(other).__name__}: {other}"[:200])
        finally:
            (place / name).write_bytes(target.files[name])

    def found(kind: str, name: str, data: bytes, text: str) -> None:
        path = options.folder / f"error-{kind}"
        if not path.exists():
            path.write_bytes(data[1:])
            path.with_suffix(".txt").write_text(f"{name}: {text}", errors="replace")

    def change(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if not data or chance.random() < 0.3:
            return atheris.Mutate(data, most)
        return (data[:1] + mutate(chance, data[1:], names[data[0] % len(names)], others))[:most]

    limits = [
        f"-max_total_time={options.seconds}",
        f"-seed={options.seed + 1}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={(memory_of_this_process('VmRSS') >> 20) + MEMORY}",
        f"-max_len={max(map(len, others)) + 200_000}",
        f"-artifact_prefix={options.folder}/",
        "-detect_leaks=0",
    ]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], read, custom_mutator=change, internal_libfuzzer=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
