"""What the array path asks of a device: tensors of torch stand for those of a GPU."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from pn_gpu.kernels import mehler  # noqa: E402
from pn_gpu.kernels.mehler import Approximation, factor  # noqa: E402
from pn_gpu.kernels.room import Mehler, OperatorGradient, Particles  # noqa: E402
from support import mehler as support  # noqa: E402
from support import oracle  # noqa: E402
from support.recorded_graph import RecordedGraph  # noqa: E402

APPROXIMATION = support.approximation(2, 40, (1, 17, 59), (0, 46))


class Operations(TorchDispatchMode):
    """Keeps what indexes rows or columns."""

    def __init__(self) -> None:
        super().__init__()
        self.indices: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        if name in ("index", "index_put_", "index_select"):
            given = args[2:] if name == "index_select" else args[1]
            self.indices += [a for a in given if isinstance(a, torch.Tensor)]
        return func(*args, **(kwargs or {}))


class Case:
    """A call on tensors that a graph would read."""

    def __init__(self, seed: int) -> None:
        case = oracle.random_case(5, 60, 47, 2, 3, seed=seed)
        self.dz, self.x = torch.tensor(case.dz), torch.tensor(case.x)
        self.particles = Particles(*(torch.tensor(a) for a in case.particles))

    def copy_from(self, other: Case) -> None:
        for own, new in zip((self.dz, self.x, *self.particles), (other.dz, other.x, *other.particles), strict=True):
            own.copy_(new)

    def step(self, approximation: Approximation = APPROXIMATION) -> tuple[Any, OperatorGradient]:
        how = Mehler(approximation)
        z, kept = mehler.forward(self.x, self.particles, None, how, keep=True)
        return z, mehler.backward(self.dz, self.x, self.particles, how, residuals=kept)


@pytest.mark.parametrize("budget", [factor.FEATURE_BUDGET, 1 << 16])
def test_a_captured_step_follows_its_particles(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    monkeypatch.setattr(factor, "FEATURE_BUDGET", budget)  # a smaller one takes several blocks
    case, other, graph = Case(0), Case(1), RecordedGraph()
    graph.warm_up(case.step)
    z, gradient = graph.capture(case.step)
    case.copy_from(other)
    graph.replay()
    want_z, want = other.step()
    for got, expected in zip((z, *gradient), (want_z, *want), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_indices_are_sent_once() -> None:
    # A list, or an array of the host, would be a copy to a GPU at every call, for which the host waits.
    case = Case(0)
    with Operations() as first:
        case.step()
    with Operations() as later:
        case.step()
    assert len(later.indices) == len(first.indices) > 0
    assert {a.data_ptr() for a in later.indices} <= {a.data_ptr() for a in first.indices}
