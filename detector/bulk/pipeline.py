"""The stages of a large run, moved by Ray Data."""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.bulk.listing import Shard
from detector.bulk.network import DetectorSettings, NetworkActor
from detector.bulk.shards import Outcome, ShardFolder
from detector.bulk.stages import Proposing, Reading, Row, failure, is_failure, proposing, reading
from detector.devices import default_batch
from detector.errors import InputError
from detector.multibox import without_network
from detector.training.lock import only_run_in
from proposals import Proposer, SelectiveSearch, warm_up
from proposals.extras import needs_extra

if TYPE_CHECKING:
    import ray.data

    from detector.run import Reporter

_RETRIES = 3
"""How often a block of photos is tried again whose process died; one that kills it each time is given up."""

_LOST_BLOCKS = 100
"""Of these the run goes on; more mean that it is no photo's fault."""

_AT_ONCE = 8

_BLOCK_BYTES = 8 << 20
"""What goes from stage to stage at once: about 80 photos of 500x375 pixels."""

_WAITING_BYTES = 256 << 20
"""What may wait between the stages for each worker."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the work is done.

    Attributes:
        address: of a Ray cluster, or "auto"; None: this machine alone.
        workers: networks at work. By default one a GPU; without GPUs one a core, half of which is its network's and
            half of which reads and proposes.
    """

    address: str | None = None
    workers: int | None = None


@dataclass(frozen=True)
class _Shares:
    """How much of the machines each stage takes.

    Attributes:
        device: of the networks.
        networks: how many there are, each a process that has the model, and a GPU if there are any.
        tasks: most tasks that read, and most that propose; None: as many as there are cores for.
        network, proposing, reading: cores of each.
    """

    device: str
    networks: int
    network: float
    tasks: int | None
    proposing: float
    reading: float


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
    detector = settings.load("cpu")  # what is wrong with it is told before anything starts
    made_by = {"fingerprint": detector.fingerprint, "selection": asdict(settings.selection)}
    proposer = without_network(detector.proposer)
    if isinstance(proposer, SelectiveSearch):
        proposer.threads = 1  # there is a process for each core
    del detector
    with only_run_in(out):
        folder = ShardFolder(out, sources, shard, made_by)
        before = folder.outcome
        if before.done:
            reporter.result(f"{before.done} of {before.images} are done already")
        if not folder.todo:
            return before
        with _connected(cluster):
            shares = _shares(settings.device, cluster.workers)
            with _data_settings(shares.networks):
                size = default_batch(shares.device) if batch is None else batch
                make = partial(_stages, folder=folder, settings=settings, proposer=proposer, shares=shares)
                try:
                    taken = _taken(make(folder.todo, at_once=_AT_ONCE, batch=size), folder)
                    for row in reporter.progress(taken, "photo", before.images - before.done):
                        _tell(row, reporter)
                    # What was lost with a process that died: one photo at a time, to lose only the one that kills it.
                    if missing := folder.missing():
                        for row in _taken(make(missing, at_once=1, batch=1), folder):
                            _tell(row, reporter)
                except ray.exceptions.RayError as error:
                    reason = " ".join(str(error).split())
                    raise InputError(f"{out}: stopped ({reason[-300:]}); the same command goes on") from None
                for one in folder.missing():
                    (name,) = folder.images.read(one)
                    died = InputError(f"{name}: detection failed (its process died of it {2 * _RETRIES + 2} times)")
                    row = {"shard": one.number, "place": one.first, "line": failure(str(name), died)}
                    folder.add(**row)
                    _tell(row, reporter)
        return folder.outcome


def _stages(
    shards: Sequence[Shard],
    *,
    folder: ShardFolder,
    settings: DetectorSettings,
    proposer: Proposer | None,
    shares: _Shares,
    at_once: int,
    batch: int,
) -> "ray.data.Dataset":
    """What becomes of shards; nothing is done before its rows are asked for.

    Args:
        at_once: photos that a task reads, or proposes for, between two looks at what is done with them.
    """
    from ray.data import ActorPoolStrategy, TaskPoolStrategy, from_items

    dataset: Any = from_items([asdict(one) for one in shards], override_num_blocks=len(shards))
    dataset = dataset.map_batches(
        reading(Reading(folder.images, folder.start), at_once),
        batch_size=1,
        batch_format="pyarrow",
        compute=TaskPoolStrategy(shares.tasks),
        num_cpus=shares.reading,
        max_retries=_RETRIES,
    )
    if proposer is not None:
        dataset = dataset.map_batches(
            proposing(Proposing(proposer)),
            batch_size=at_once,
            batch_format="pyarrow",
            compute=TaskPoolStrategy(shares.tasks),
            num_cpus=shares.proposing,
            max_retries=_RETRIES,
        )
    return dataset.map_batches(
        NetworkActor,
        fn_constructor_args=(replace(settings, device=shares.device),),
        batch_size=batch,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=shares.networks, max_tasks_in_flight_per_actor=1),
        num_cpus=shares.network,
        num_gpus=1 if shares.device == "cuda" else None,
        max_task_retries=_RETRIES,
    )


def _taken(dataset: "ray.data.Dataset", folder: ShardFolder) -> Iterator[Row]:
    """The finished rows as they come, each of them kept in the folder."""
    tables: Iterator[Any] = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
    for table in tables:
        for row in table.to_pylist():
            if folder.add(**row):
                yield row


def _tell(row: Row, reporter: "Reporter") -> None:
    if is_failure(row["line"]):
        reporter.error(f"error: {json.loads(row['line'])['error']}")


@contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    """Within the block there is Ray: the caller's, a cluster, or one of this machine alone that ends with the block."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local: dict[str, Any] = (
        {} if cluster.address else {"num_cpus": cluster.workers or default_workers(), "include_dashboard": False}
    )
    try:
        ray.init(cluster.address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"--ray {cluster.address}: cannot be reached" if cluster.address else "Ray does not start"
        raise InputError(f"{where} ({' '.join(str(error).split())})") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _data_settings(workers: int) -> Iterator[None]:
    """Within the block datasets are made that keep little waiting and tell little."""
    from ray.data import DataContext, ExecutionResources

    context = DataContext.get_current().copy()
    context.target_max_block_size = _BLOCK_BYTES
    context.max_errored_blocks = _LOST_BLOCKS
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.resource_limits = ExecutionResources(object_store_memory=_WAITING_BYTES * workers)
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # blocks that are lost are told of at the end, by what they cost
    try:
        with (
            DataContext.current(context),
            warnings.catch_warnings(action="ignore"),
        ):  # how retries are given will change
            yield
    finally:
        logger.setLevel(level)


def default_workers() -> int:
    """Cores of this machine that the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares(device: str, workers: int | None) -> _Shares:
    import ray

    there = ray.cluster_resources()
    cores, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    if device != "cpu" and gpus:
        networks = min(workers or gpus, gpus)
        return _Shares("cuda", networks, 1.0, None, 1.0, 0.25)
    if device == "cuda":
        raise InputError("--device cuda: Ray has no GPU; give cpu")
    if cores < 1 or (workers or 1) > cores:
        raise InputError(f"--workers {workers}: Ray has {cores} cores, and a worker takes one")
    networks = workers or cores
    return _Shares("cpu", networks, 0.5, networks, 0.4, 0.1)
