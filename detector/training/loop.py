"""The training loop that all trainings share: steps, checkpoints, averages, logs, exact resume."""

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from detector.config import config_hash, to_plain
from detector.errors import InputError
from detector.models.weights import weights_hash
from detector.ops.devices import resolve_device
from detector.ops.distributed import any_process, average_gradients, rank, same_in_all, wait_for_all, world_size
from detector.ops.precision import fast_dtype
from detector.training.ahead import ahead, default_workers
from detector.training.averaging import ExponentialAverage
from detector.training.budget import Budget
from detector.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from detector.training.interrupts import deferred_interrupts
from detector.training.optimizer import learning_rate, make_optimizer
from detector.training.recipes import OptimizerConfig

log = logging.getLogger(__name__)

LOG_EVERY = 50

Example = TypeVar("Example")
Numbers = Mapping[str, float | Tensor]


class TrainingRecipe(Protocol):
    """What the loop needs of a recipe."""

    @property
    def optimizer(self) -> OptimizerConfig: ...
    @property
    def seed(self) -> int: ...
    @property
    def eval_every(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...


class Task(ABC, Generic[Example]):
    """What is trained, on what, and how its result is judged.

    Attributes:
        recipe: of the whole run.
        network: what is trained; its parameters that need no gradient stay as they are.
        head: names of the network's children that start from nothing (`OptimizerConfig.head_lr_mult`).
        several_processes: whether `example` gives each process its part of the batch.
        workers: whether `example` may run in processes of its own, which do not see what another one remembers, and
            which have no GPU.
    """

    recipe: TrainingRecipe
    network: nn.Module
    head: tuple[str, ...] = ()
    several_processes: bool = False
    workers: bool = False

    @abstractmethod
    def initialize(self, init: Path | None) -> None:
        """Weights to start from; called for a new run only."""

    def prepare(self) -> None:
        """Work that comes before the first step."""

    @abstractmethod
    def example(self, step: int) -> Example:
        """What a step trains on; depends on nothing but the recipe's seed, the step and the process' rank."""

    @abstractmethod
    def backward(self, model: nn.Module, example: Example, autocast: AbstractContextManager[None]) -> Numbers:
        """Computes the loss and its gradients; returns numbers to log, "loss" among them. Those that are on a GPU stay
        there: to fetch them would wait for it.

        Args:
            model: the network.
            example: this process' part of the batch. Its loss is such that the mean over the processes is the batch's.
        """

    @abstractmethod
    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Judges the averaged network, writes the model file into `out`, returns numbers to log.

        Args:
            metadata: what is known of the training, for the model file.
            last: whether the training ends here.
        """


class TrainingLoop(Generic[Example]):
    """Trains; `run` goes on where a checkpoint in `out` stopped.

    Several processes (torchrun) each train on their part of every example and average their gradients, in place of
    what DistributedDataParallel would do for a network that is called as a whole; the first one writes, its own part's
    numbers in the log. If one dies, all end, and are started again by torchrun (`--max-restarts`) or by hand.

    Args:
        task: what to train; its network is moved to the device.
        out: folder for checkpoints, logs and the exported model.
        init: weights to start a new run from.
        device: "auto", "cpu", "cuda".
        workers: processes that make examples ahead; by default none on the CPU, where a thread does, and what the
            machine's cores suggest beside a GPU.
        budget: time to take, for a task of one process: where it does not suffice for the recipe's steps, each step
            goes further in their schedule. How far is planned anew at every step. A resumed training ends with the
            same weights as one in one piece unless time shortened it.

    Raises:
        InputError: weights or checkpoint cannot be used, or the task trains in one process alone.
    """

    def __init__(
        self,
        task: Task[Example],
        out: Path,
        init: Path | None,
        device: str = "auto",
        workers: int | None = None,
        budget: Budget | None = None,
    ) -> None:
        if world_size() > 1 and not task.several_processes:
            raise InputError("this task trains in one process: start it without torchrun")
        self.task, self.out = task, out
        self.config = task.recipe.optimizer
        self.recipe_hash = config_hash(task.recipe)
        self.device = resolve_device(device)
        self.workers = default_workers(self.device) if workers is None else workers
        self.dtype = fast_dtype(str(self.device))
        self.network = task.network.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(self.network, self.config, task.head)
        self.checkpoint = out / CHECKPOINT
        self.step, self.saved_step, self.seconds = 0, 0, 0.0
        self.budget = budget
        self.lead, self.stride = 0.0, 1.0  # how far the schedule is before the steps; how far in it a step goes
        resumed = self.checkpoint.exists()
        if not resumed:
            task.initialize(init)
        self.ema = ExponentialAverage(self.network, self.config.ema_decay)
        if resumed:
            self._restore(load_checkpoint(self.checkpoint, self.recipe_hash))
        self._agree()

    def _agree(self) -> None:
        """Raises `InputError` if the processes would train different networks, as on machines that do not share `out`:
        the mean of their gradients would fit none of them."""
        if any_process(self.dtype == torch.float32, self.device):  # the measurement may differ between them
            self.dtype = torch.float32
        if world_size() > 1:
            start = (self.step, int(self.recipe_hash, 16), int(weights_hash(self.network), 16))
            if not same_in_all(start, self.device):
                raise InputError(
                    f"{self.checkpoint}: the processes do not start from the same step, recipe and weights; "
                    "give all machines the same files, and --out in a folder that they share"
                )

    def run(self) -> None:
        """Trains to the end of the recipe's schedule, with checkpoints, evaluations and logs on the way.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; `saved_step` is the step that a new run goes on from.
            InputError: an image or its annotation cannot be used, or the training diverged.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        steps, every = self.config.steps, self.task.recipe.eval_every
        state = (self.step, self.steps, self.recipe_hash, self.dtype, self.device, world_size())
        log.info("step %d of %d, recipe %s, %s on %s, processes: %d", *state)
        self.task.prepare()
        with self._board() as board, self._bar() as bar, logging_redirect_tqdm():
            while True:
                if self.position == steps or (self.step > 0 and self.position % every == 0):
                    self._evaluate(board)
                if self.position == steps:
                    return
                with deferred_interrupts() as interrupted:
                    self._train_to_evaluation(board, bar, interrupted)

    @property
    def position(self) -> float:
        """Where the training is in the schedule of the recipe's steps."""
        return self.step + self.lead

    @property
    def steps(self) -> int:
        """The number of steps in all, as planned now."""
        left = self.config.steps - self.position
        return self.step + round(left / self._plan()[0]) if left else self.step

    def _plan(self) -> tuple[float, int]:
        """How far the next step goes in the schedule, and the place in it of the next evaluation."""
        steps, every = self.config.steps, self.task.recipe.eval_every
        left, mark = steps - self.position, min(steps, int(self.position // every + 1) * every)
        if self.budget is None:
            return 1.0, mark
        stride, on_the_way = self.budget.plan(left, steps - self.step, math.ceil(left / every) - 1)
        return stride, mark if on_the_way else steps

    @contextmanager
    def _board(self) -> Iterator[SummaryWriter | None]:
        """TensorBoard's log, of the first process alone."""
        if rank() > 0:
            yield None
            return
        with SummaryWriter(str(self.out), purge_step=self.step + 1) as board:
            yield board

    def _bar(self) -> tqdm:
        """Steps done and the time to go, if there is a terminal to show them on."""
        hidden = None if rank() == 0 else True
        return tqdm(desc="training", unit="step", initial=self.step, total=self.steps, smoothing=0.05, disable=hidden)

    def _train_to_evaluation(self, board: SummaryWriter | None, bar: tqdm, interrupted: Callable[[], bool]) -> None:
        """Trains until an evaluation is due; a step reaches its place in the schedule exactly."""
        window: list[Numbers] = []
        started = before = time.perf_counter()
        workers = self.workers if self.task.workers else 0
        last = self._plan()[1] if self.budget is None else self.config.steps
        with ahead(self.task.example, range(self.step, last), workers, self.device.type == "cuda") as examples:
            arrived = False
            while not arrived:
                try:
                    example = next(examples)
                except InputError:  # what was learned until here is not lost
                    self._check(window)
                    self.save()
                    raise
                stride, mark = self._plan()
                self.stride = min(stride, mark - self.position)
                arrived = self.stride == mark - self.position
                window.append(self.train_step(example))
                self.step += 1
                self.lead = float(mark - self.step) if arrived else self.lead + self.stride - 1
                bar.update()
                if self.budget is not None:
                    self.budget.stepped(time.perf_counter() - before)
                    before = time.perf_counter()
                stop = any_process(interrupted(), self.device)
                saving = self.step % self.task.recipe.checkpoint_every == 0 or arrived or stop
                if self.step % LOG_EVERY == 0 or saving:
                    self._check(window)
                if self.step % LOG_EVERY == 0 or arrived:
                    now = time.perf_counter()
                    self.seconds += now - started
                    self._log(board, window, (now - started) / len(window))
                    window, started = [], now
                if saving:
                    self.save()
                if stop:
                    raise KeyboardInterrupt

    def train_step(self, example: Example) -> Numbers:
        """One update; returns the task's numbers and the norm of the gradient."""
        lr = learning_rate(self.config, self.position)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        self.network.train()
        torch.manual_seed(self.task.recipe.seed * 1_000_003 + self.step)  # dropout goes on alike after a resume
        self.optimizer.zero_grad(set_to_none=True)
        autocast = torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
        numbers = self.task.backward(self.network, example, autocast)
        average_gradients(self.network.parameters())
        norm = self._clip()
        self.optimizer.step()
        self.ema.update_parameters(self.network, self.stride)
        return {**numbers, "gradient": norm}

    def _clip(self) -> Tensor:
        """Clips the gradients of the head and of the rest, each by its own norm, so that a head that learns beside a
        network does not slow it down; returns the larger norm."""
        norms = []
        for in_head in (False, True):
            groups = (group for group in self.optimizer.param_groups if group["head"] == in_head)
            parameters = [parameter for group in groups for parameter in group["params"]]
            if parameters:
                norms.append(torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip))
        return torch.stack(norms).max()

    def _check(self, window: Sequence[Numbers]) -> None:
        """Ends a training whose numbers are none any more, before that is saved; not at every step, since to look at a
        number on a GPU would wait for it."""
        for step, numbers in enumerate(window, self.step - len(window)):
            for name in ("loss", "gradient"):
                if not math.isfinite(value := float(numbers[name])):
                    message = f"step {step}: the {name} is {value}; lower the lr or look at the data"
                    raise InputError(message)

    def save(self) -> None:
        """Writes the checkpoint."""
        if rank() == 0:
            state = {
                "recipe": self.recipe_hash,
                "dtype": str(self.dtype),
                "config": to_plain(self.task.recipe),
                "step": self.step,
                "seconds": self.seconds,
                "network": self.network.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            if self.budget is not None:
                state |= {"lead": self.lead, "elapsed": self.budget.elapsed}
            save_checkpoint(self.checkpoint, state)
        self.saved_step = self.step

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        if self.budget is not None:
            self.lead, self.budget.spent = state["lead"], state["elapsed"]
        self.saved_step = self.step
        # the run goes on in the format it began in, also where another would be faster now
        self.dtype = torch.bfloat16 if state["dtype"] == str(torch.bfloat16) else torch.float32
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _evaluate(self, board: SummaryWriter | None) -> None:
        started = time.perf_counter()
        if board is not None:
            metadata = {"recipe": self.recipe_hash, "steps": self.step, "hours": round(self.seconds / 3600, 2)}
            numbers = self.task.evaluate(self.ema.module.eval(), metadata, self.out, self.position == self.config.steps)
            log.info("step %d: %s", self.step, ", ".join(f"{name} {_shown(value)}" for name, value in numbers.items()))
            for name, value in numbers.items():
                board.add_scalar(name, value, self.step)
        wait_for_all()
        if self.budget is not None:
            self.budget.evaluated(time.perf_counter() - started)

    def _log(self, board: SummaryWriter | None, window: list[Numbers], seconds: float) -> None:
        if board is None:
            return
        mean = {name: sum(float(numbers[name]) for numbers in window) / len(window) for name in window[0]}
        lr = learning_rate(self.config, self.position - self.stride)
        minutes = seconds * (self.steps - self.step) / 60
        to_go = f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
        values = "  ".join(f"{name} {value:.3f}" for name, value in mean.items())
        state = (self.step, self.steps, values, lr, seconds, to_go)
        log.info("step %d/%d  %s  lr %.5f  %.3f s a step, %s to go", *state)
        for name, value in {**mean, "lr": lr}.items():
            board.add_scalar(name, value, self.step)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
