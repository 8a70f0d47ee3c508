"""A large run: missing shards of its folder pass the stages, and their results are kept in the folder."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from detector.bulk.listing import Shard
from detector.bulk.network import DetectorSettings
from detector.bulk.ray_data import RETRIES, Stages, connected, data_settings, shares_of
from detector.bulk.shards import LIST, Outcome, ShardFolder
from detector.bulk.stages import Row, failure, is_failure
from detector.errors import InputError
from detector.inference.proposers import without_network
from detector.ops.devices import default_batch
from detector.storage.run_lock import run_lock
from detector.storage.run_store import recorded_precision
from proposals import SelectiveSearch, warm_up
from proposals.extras import needs_extra

if TYPE_CHECKING:
    from detector.runner.run import Reporter


def detect_many(
    sources: Sequence[str],
    out: Path,
    settings: DetectorSettings,
    reporter: "Reporter",
    *,
    address: str | None = None,
    workers: int | None = None,
    batch: int | None = None,
    shard: int = 1000,
) -> Outcome:
    """Detects in all photos of `sources` and writes JSON lines, one file per shard. An unfinished run continues.

    Args:
        sources: folders with their subfolders, photos, or lists of photos (.txt).
        out: the folder of the run (`detector.bulk.shards`). All machines of a cluster must have it, and the photos, at
            the same path.
        address: of a Ray cluster, or "auto" for this machine's; None for this machine alone.
        workers: processes that run the network. By default one per GPU; without GPUs one per core, half of which runs
            the network and half of which reads and proposes.
        batch: photos in a batch of the network; by default 1 on a CPU and 8 on a GPU.
        shard: photos per file of results.

    Raises:
        InputError: Ray is not installed or cannot be reached; the model, the folder or a setting cannot be used.
    """
    try:
        import ray.data
    except ModuleNotFoundError:
        raise InputError(needs_extra("detector bulk", "ray")) from None
    if settings.device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {settings.device}: unknown; give auto, cpu or cuda")
    warm_up(reporter.result)
    settings = replace(settings, precision=recorded_precision(out / LIST))
    detector = settings.load("cpu")  # raises its errors before anything starts
    settings = replace(settings, precision=detector.precision)
    made_by = {
        "precision": detector.precision,
        "content of model and configuration": detector.fingerprint,
        "selection": asdict(settings.selection),
    }
    proposer = without_network(detector.proposer)
    if isinstance(proposer, SelectiveSearch):
        proposer.threads = 1  # each core has a process
    del detector
    with run_lock(out):
        folder = ShardFolder(out, sources, shard, made_by)
        before = folder.outcome
        if before.done:
            reporter.result(f"{before.done} of {before.images} are done already")
        if not folder.remaining:
            return before
        with connected(address, workers, settings.device):
            shares = shares_of(settings.device, workers)
            size = default_batch(shares.device) if batch is None else batch
            stages = Stages(folder.images, folder.start, settings, proposer, shares, size)
            with data_settings(shares.networks, len(folder.shards)):
                try:
                    collect(folder, stages.rows, reporter)
                except ray.exceptions.RayError as error:
                    reason = " ".join(str(error).split())
                    raise InputError(f"{out}: stopped ({reason[-300:]}); --resume continues") from None
        return folder.outcome


Rows = Callable[[Sequence[Shard], bool], Iterable[Row]]
"""Returns the finished photos of shards, in any order; some may be missing or repeated. The second argument asks to
process each photo by itself."""


def collect(folder: ShardFolder, rows: Rows, reporter: "Reporter") -> None:
    """Processes the missing shards.

    Photos that do not come back, because a process died, are tried once more one at a time, so that only a photo that
    kills its process is lost; its result is an error.
    """

    def report(row: Row) -> None:
        if is_failure(row["line"]):
            reporter.error(f"error: {json.loads(row['line'])['error']}")

    before = folder.outcome
    new = (row for row in rows(folder.remaining, False) if folder.add(**row))
    for row in reporter.progress(new, "photo", before.images - before.done):
        report(row)
    if missing := folder.missing():
        for row in rows(missing, True):
            if folder.add(**row):
                report(row)
    for photo in folder.missing():
        (name,) = folder.images.read(photo)
        died = InputError(f"{name}: detection failed (its process died {2 * RETRIES + 2} times)")
        row = {"shard": photo.number, "index": photo.first, "line": failure(str(name), died)}
        folder.add(**row)
        report(row)
