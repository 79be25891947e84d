"""Whole training steps replayed as one CUDA graph: forward, loss, backward, penalties and update in a single launch.

A small network's step is a few hundred launches, and the host makes them slower than a GPU computes them. A graph is
captured once and replayed; it repeats the same kernels on the same memory. So

- what is new at every step is copied into memory that the graph reads: the batch, the masks of dropout (drawn on the
  host, in the order of eager steps), and the optimiser's `rates`;
- how layers are computed is decided on the host before every step, as always; for each that the Mehler method computes
  it waits for the device (`Plan.covers`). A graph serves as long as all that it has fixed is as it was (`_fixed`):
  shapes, the approximations of layers, the arrays of parameters and state, settings. Else the step is eager, and where
  the new state lasts a few steps, captured anew;
- a graph must prove itself: its first replay is compared with the same step made eagerly.

It has not run on hardware: what is tested is which operations a graph holds, that none of them needs the host, and that
replaying them gives the numbers of eager steps.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from pn_gpu.kernels.room import How, Mehler
from pn_gpu.training.batches import Batch
from pn_gpu.training.optimizers import Optimizer
from pn_gpu.training.run import TrainingRun
from pn_gpu.training.step import Hows, StepInputs, StepResult, compute, current_move, prepare

Array = Any
Result = TypeVar("Result")

# A capture costs about two steps more; what changes at every step, as a short last batch does, is not worth it.
EAGER_STEPS = 2
# How far the first replay may be from the eager step, relative to the step: products may be summed in another order.
TOLERANCE = 1e-2


class Graph(Protocol):
    """What can be captured and replayed."""

    def warm_up(self, function: Callable[[], Result]) -> Result:
        """Run ``function`` where it is to be captured, so that all it needs once is there."""

    def capture(self, function: Callable[[], Result]) -> Result:
        """Record what ``function`` does, without doing it; its arrays hold what the last `replay` computed."""

    def replay(self) -> None:
        """Do it."""


class CudaGraph:
    """A `torch.cuda.CUDAGraph`, captured on a stream of its own."""

    def __init__(self, device: Any) -> None:
        self._cuda = importlib.import_module("torch").cuda
        self._device = device
        self._graph = self._cuda.CUDAGraph()
        self._stream = self._cuda.Stream(device)

    def warm_up(self, function: Callable[[], Result]) -> Result:
        """As of `Graph`."""
        with self._cuda.device(self._device):
            caller = self._cuda.current_stream()
            self._stream.wait_stream(caller)
            with self._cuda.stream(self._stream):
                result = function()
            caller.wait_stream(self._stream)
        return result

    def capture(self, function: Callable[[], Result]) -> Result:
        """As of `Graph`; threads that load data may go on meanwhile."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._cuda.device(self._device))
            # torch's own block leaves its stream the current one if the capture fails.
            stack.enter_context(self._cuda.stream(self._cuda.current_stream()))
            stack.enter_context(self._cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"))
            return function()

    def replay(self) -> None:
        """As of `Graph`."""
        with self._cuda.device(self._device):
            self._graph.replay()


def why_not(run: TrainingRun) -> str:
    """Why the steps of a run cannot be replayed; empty if they can."""
    if not run.network.backend.captures_graphs:
        return f"the backend is {run.network.backend.name}, want torch on CUDA"
    return _why_not(run)


def _why_not(run: TrainingRun) -> str:
    if run.processes.size > 1:
        return "gradients are added up over processes on the host"
    if run.remove_mean_rotation:
        return "remove_mean_rotation solves for the rotation on the host"
    if type(run.optimizer).update is not Optimizer.update:
        return f"{type(run.optimizer).__name__} has an update of its own; want rates and move"
    for penalty in run.penalties:
        if not penalty.replayable:
            return f"{type(penalty).__name__} does not say that it is replayable"
    return ""


class GraphedSteps:
    """Makes the steps of a run: eagerly first, then by replaying a graph of them as long as it fits.

    Parameters
    ----------
    make_graph : callable
        Makes a `Graph`.
    """

    def __init__(self, make_graph: Callable[[], Graph]) -> None:
        self._make_graph = make_graph
        self._captured: _Captured | None = None
        self._given_up = False
        self._last: tuple[Any, ...] = ()
        self._repeats = 0
        self.captures = self.replays = 0

    def __call__(self, run: TrainingRun, batch: Batch) -> StepResult:
        """One step from a batch."""
        inputs, hows = prepare(run, batch)
        if self._given_up or _why_not(run):
            return compute(run, inputs, hows, current_move(run))
        fixed = _fixed(run, inputs, hows)
        self._repeats = self._repeats + 1 if fixed == self._last else 0
        self._last = fixed
        if self._captured is not None and self._captured.fixed == fixed:
            self.replays += 1
            return self._captured.step(run, inputs)
        if self._repeats < EAGER_STEPS:
            return compute(run, inputs, hows, current_move(run))
        return self._capture(run, inputs, hows, fixed)

    def _capture(self, run: TrainingRun, inputs: StepInputs, hows: Hows, fixed: tuple[Any, ...]) -> StepResult:
        """The step made eagerly, captured, and made once more by the graph."""
        self._captured = None  # its memory first
        arrays = _moved(run)
        before = _copies(arrays)
        graph, memory = self._make_graph(), _Memory(run, inputs)
        result = graph.warm_up(lambda: memory.compute(run, hows))
        after = _copies(arrays)
        try:
            replayed = graph.capture(lambda: memory.compute(run, hows))
        except Exception as error:  # whatever cannot be captured works eagerly
            return self._give_up(_first_cause(error), arrays, after, result)
        _put(arrays, before)
        graph.replay()
        if not _is_same_step(before, after, arrays):
            return self._give_up("its first replay is not the step that it was captured from", arrays, after, result)
        self.captures += 1
        self._captured = _Captured(graph, memory, replayed, fixed, held=(hows, arrays, _objects(run)))
        return replayed

    def _give_up(self, reason: str, arrays: list[Array], after: list[Array], result: StepResult) -> StepResult:
        _put(arrays, after)
        self._given_up = True
        warnings.warn(
            f"cuda_graph: training steps are not replayed as a CUDA graph, but made one operation after the other:"
            f" {reason}",
            RuntimeWarning,
            stacklevel=2,
        )
        return result


class _Memory:
    """Where a graph reads what is new at every step."""

    def __init__(self, run: TrainingRun, inputs: StepInputs) -> None:
        self._backend, self._dtype = run.network.backend, run.network.dtype
        xp = self._backend.xp
        self._inputs = StepInputs._make(_map(lambda a: xp.asarray(a, copy=True), inputs))
        self._rates = self._backend.asarray(self._current_rates(run))

    def _current_rates(self, run: TrainingRun) -> np.ndarray[Any, Any]:
        return np.array(run.optimizer.rates(run.lr, run.step), self._dtype)

    def fill(self, run: TrainingRun, inputs: StepInputs) -> None:
        """Take up a step."""
        for own, new in zip(_arrays(self._inputs), _arrays(inputs), strict=True):
            own[...] = new
        self._rates[...] = self._backend.asarray(self._current_rates(run))

    def compute(self, run: TrainingRun, hows: Hows) -> StepResult:
        """The step, from this memory alone."""
        rates = [self._rates[index] for index in range(self._rates.shape[0])]

        def move(parameters: Array, gradient: Array) -> None:
            run.optimizer.move(parameters, gradient, run.optimizer_state, rates)

        return compute(run, self._inputs, hows, move)


class _Captured(NamedTuple):
    """A graph, what it reads and writes, and what it has fixed."""

    graph: Graph
    memory: _Memory
    result: StepResult
    fixed: tuple[Any, ...]
    held: Any  # objects that the graph uses, or that ``fixed`` knows by their id: kept, so that no other gets it

    def step(self, run: TrainingRun, inputs: StepInputs) -> StepResult:
        """Replay for a step."""
        self.memory.fill(run, inputs)
        self.graph.replay()
        return self.result


def _fixed(run: TrainingRun, inputs: StepInputs, hows: Hows) -> tuple[Any, ...]:
    """All that a graph of this step fixes, as something to compare."""
    torch = importlib.import_module("torch")
    return (
        tuple(_map(lambda a: (tuple(a.shape), a.dtype), inputs)),
        tuple(map(_computation, hows)),
        tuple(id(a) for a in _moved(run)),
        tuple(id(a) for a in _objects(run)),
        repr(run.optimizer),
        tuple(repr(vars(penalty)) for penalty in run.penalties),
        run.remove_mean_translation,
        torch.get_float32_matmul_precision(),
    )


def _computation(how: How | None) -> Any:
    """What a layer's kernels take from ``how``: two plans of one expansion may leave out the same particles."""
    if not isinstance(how, Mehler):
        return how
    approximation = how.approximation
    left_out = approximation.left_out_in.tobytes(), approximation.left_out_out.tobytes()
    return id(approximation.expansion), *left_out


def _moved(run: TrainingRun) -> list[Array]:
    """The arrays that a step changes."""
    return [run.network.parameters.flat, *run.optimizer_state.values()]


def _objects(run: TrainingRun) -> list[Any]:
    """What a step uses and does not change."""
    network = run.network
    return [network, network.connections, network.loss, *network.parameters.fixed.values(), run.steps, *run.penalties]


def _map(function: Callable[[Array], Result], inputs: StepInputs) -> tuple[Any, ...]:
    """The function of all arrays of the inputs, in their places."""
    x, targets, weights, masks = inputs

    def of(a: Array | None) -> Result | None:
        return None if a is None else function(a)

    return of(x), of(targets), of(weights), tuple(map(of, masks))


def _arrays(inputs: StepInputs) -> list[Array]:
    x, targets, weights, masks = inputs
    return [a for a in (x, targets, weights, *masks) if a is not None]


def _copies(arrays: list[Array]) -> list[Array]:
    return [a.clone() for a in arrays]


def _put(arrays: list[Array], values: list[Array]) -> None:
    for a, value in zip(arrays, values, strict=True):
        a[...] = value


def _is_same_step(before: list[Array], eager: list[Array], replayed: list[Array]) -> bool:
    """Whether the parameters and the optimiser's state moved as in the eager step; one that diverges tells nothing."""
    for start, wanted, got in zip(before, eager, replayed, strict=True):
        step = float((wanted - start).norm())
        if math.isfinite(step) and not float((got - wanted).norm()) <= TOLERANCE * step:
            return False
    return True


def _first_cause(error: BaseException) -> str:
    """What went wrong first: ending a capture that failed raises an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
