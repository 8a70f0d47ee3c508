"""The run: what is to be done is taken from its folder, and what comes back from the stages is kept there."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from detector.bulk.listing import Shard
from detector.bulk.network import DetectorSettings
from detector.bulk.ray_data import RETRIES, Cluster, Stages, connected, data_settings, shares_of
from detector.bulk.shards import Outcome, ShardFolder, recorded_precision
from detector.bulk.stages import Row, failure, is_failure
from detector.errors import InputError
from detector.inference.proposers import without_network
from detector.ops.devices import default_batch
from detector.storage.run_lock import run_lock
from proposals import SelectiveSearch, warm_up
from proposals.extras import needs_extra

if TYPE_CHECKING:
    from detector.runner.run import Reporter


def detect_many(
    sources: Sequence[str],
    out: Path,
    settings: DetectorSettings,
    reporter: "Reporter",
    cluster: Cluster | None = None,
    *,
    batch: int | None = None,
    shard: int = 1000,
) -> Outcome:
    """Detects in all photos that sources name and writes JSON lines into `out`, a file a shard; goes on with a run that
    is there.

    Args:
        sources: folders, with all below them; photos; lists of photos (.txt).
        out: the folder of the run (`detector.bulk.shards`). On a cluster all machines have to see it, and the photos,
            at the same path.
        batch: photos that a network sees at once; by default 1 on a CPU and 8 on a GPU.
        shard: photos a file of results.

    Raises:
        InputError: Ray is not installed or cannot be reached; the model, the folder or a setting cannot be used.
    """
    try:
        import ray.data
    except ModuleNotFoundError:
        raise InputError(needs_extra("detector bulk", "ray")) from None
    if settings.device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {settings.device}: is not known; give auto, cpu or cuda")
    cluster = cluster or Cluster()
    warm_up(reporter.result)
    settings = replace(settings, precision=recorded_precision(out))
    detector = settings.load("cpu")  # what is wrong with it is told before anything starts
    settings = replace(settings, precision=detector.precision)
    made_by = {
        "precision": detector.precision,
        "content of model and configuration": detector.fingerprint,
        "selection": asdict(settings.selection),
    }
    proposer = without_network(detector.proposer)
    if isinstance(proposer, SelectiveSearch):
        proposer.threads = 1  # there is a process for each core
    del detector
    with run_lock(out):
        folder = ShardFolder(out, sources, shard, made_by)
        before = folder.outcome
        if before.done:
            reporter.result(f"{before.done} of {before.images} are done already")
        if not folder.todo:
            return before
        with connected(cluster, settings.device):
            shares = shares_of(settings.device, cluster.workers)
            size = default_batch(shares.device) if batch is None else batch
            stages = Stages(folder.images, folder.start, settings, proposer, shares)
            with data_settings(shares.networks, len(folder.shards)):
                try:
                    collect(folder, partial(stages.rows, batch=size), reporter)
                except ray.exceptions.RayError as error:
                    reason = " ".join(str(error).split())
                    raise InputError(f"{out}: stopped ({reason[-300:]}); the same command goes on") from None
        return folder.outcome


Rows = Callable[[Sequence[Shard], bool], Iterable[Row]]
"""Gives the finished photos of shards, in any order. Some may be missing, or come twice. If asked to, each photo is
worked on by itself."""


def collect(folder: ShardFolder, rows: Rows, reporter: "Reporter") -> None:
    """Does what is missing in the folder.

    What does not come back, because a process died of it, is tried once more, one photo at a time, to lose only the one
    that kills it; that has an error as its result.
    """
    before = folder.outcome
    for row in reporter.progress(_taken(rows(folder.todo, False), folder), "photo", before.images - before.done):
        _tell(row, reporter)
    if missing := folder.missing():
        for row in _taken(rows(missing, True), folder):
            _tell(row, reporter)
    for one in folder.missing():
        (name,) = folder.images.read(one)
        died = InputError(f"{name}: detection failed (its process died of it {2 * RETRIES + 2} times)")
        row = {"shard": one.number, "place": one.first, "line": failure(str(name), died)}
        folder.add(**row)
        _tell(row, reporter)


def _taken(rows: Iterable[Row], folder: ShardFolder) -> Iterator[Row]:
    """The finished rows as they come, each of them kept in the folder."""
    return (row for row in rows if folder.add(**row))


def _tell(row: Row, reporter: "Reporter") -> None:
    if is_failure(row["line"]):
        reporter.error(f"error: {json.loads(row['line'])['error']}")
