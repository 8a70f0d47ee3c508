"""SIGKILL at random moments.

A killed command is restarted again and again. In the end everything on the disk must be what an undisturbed run leaves,
and at no time may a file have its final name before it is whole. `RELIABILITY=N` multiplies the kills.
"""

import random
from pathlib import Path

import pytest

from tests.reliability.commands import EXPORT, Command, cache, detect, evaluate, half_written, train
from tests.reliability.fork_server import SCALE, run

# After this many kills a run is left alone.
MOST_KILLS = 6


@pytest.mark.slow
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("command", "kills"), [(detect(6), 3), (evaluate(4), 2), (train(4), 2), (cache(6), 4), (EXPORT, 1)], ids=str
)
def test_a_killed_command_reaches_the_same_end(command: Command, kills: int, tmp_path: Path):
    chance = random.Random(command.name)
    whole = command.new_folder(tmp_path / "whole")
    undisturbed = run(command.arguments, whole)
    assert undisturbed.code == 0, undisturbed.errors
    expected, duration, killed = command.outcome(whole), undisturbed.seconds, 0
    for number in range(100 * kills * SCALE):
        if killed >= kills * SCALE:
            break
        folder, kills_of_run = command.new_folder(tmp_path / f"run-{number}"), 0
        while True:
            disturb = killed < kills * SCALE and kills_of_run < MOST_KILLS
            ended = run(command.arguments, folder, chance.random() * duration if disturb else None)
            if ended.code != -9:
                assert ended.code == 0, ended.errors
                break
            killed, kills_of_run = killed + 1, kills_of_run + 1
            assert list(half_written(folder)) == []
            if command.done(folder):
                break
        if not kills_of_run:  # it had ended before the kill: the machine is less busy now
            duration = min(duration, ended.seconds)
        assert command.outcome(folder) == expected, f"after {kills_of_run} kills"
    assert killed >= kills * SCALE


def test_half_written_files_are_detected(tmp_path: Path):
    (tmp_path / "good.json").write_text("[]")
    (tmp_path / "bad.json").write_text("[")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    (tmp_path / "torn.jsonl").write_text('{"a": 1}\n{"a')
    assert [fault.split(":")[0] for fault in half_written(tmp_path)] == ["bad.json", "bad.npz"]
