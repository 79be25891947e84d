"""torch.vmap over layers on a GPU is the launches of one call; here on the CPU, interpreted where values matter."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import pn_gpu as pn  # noqa: E402
from bench.triton_compile import captured_launches  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.sets import SetsRoom  # noqa: E402
from pn_gpu.kernels.torch import compute  # noqa: E402
from support.sets import make_sets  # noqa: E402


@pytest.fixture
def torch_by_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of CPU tensors go where those of a GPU go."""
    monkeypatch.setattr(compute, "_sets_room", lambda _: SetsRoom(lambda how: room, on_host=False))


def loss(*arguments: Any) -> Any:
    return pn.particle_linear(*arguments, method="direct").square().sum()


SHARED = [(), (0,), (1, 2), (1, 2, 3, 4, 5)]


def batch_of(shared: tuple[int, ...]) -> tuple[list[Any], tuple[int | None, ...]]:
    """Arguments of torch.vmap over three layers, and their dimensions."""
    sets = make_sets(3, (4, 9, 7), torch.float64, dim=2)
    arguments = sets.x, *sets.particles, sets.bias
    return [a[0] if k in shared else a for k, a in enumerate(arguments)], tuple(
        None if k in shared else 0 for k in range(6)
    )


@pytest.mark.usefixtures("torch_by_triton")
@pytest.mark.parametrize("shared", SHARED)
def test_vmap_is_one_launch_of_each_kernel(shared: tuple[int, ...]) -> None:
    given, dims = batch_of(shared)
    leaves = [a.requires_grad_() for a in given]
    with captured_launches() as found:
        z = torch.vmap(partial(pn.particle_linear, method="direct"), dims)(*leaves)
        torch.autograd.grad(z.sum(), leaves)
    by_autograd = Counter(launched.kernel.__name__ for launched in found)
    with captured_launches() as found:
        torch.vmap(torch.func.grad(loss, argnums=tuple(range(6))), dims)(*(a.detach() for a in given))
    if shared != (1, 2, 3, 4, 5):  # one layer, of as many rows
        assert by_autograd["few_rows_kernel"] == 2  # z and dx
        assert by_autograd["difference_kernel"] == 1
    per_sample = Counter(launched.kernel.__name__ for launched in found)
    assert per_sample["difference_kernel"] == 1


@pytest.mark.usefixtures("interpreted")
@pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning")  # the interpreter's
@pytest.mark.usefixtures("torch_by_triton")
@pytest.mark.parametrize("shared", SHARED[:3])
def test_vmap_has_the_values_of_a_loop(shared: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    given, dims = batch_of(shared)
    leaves = [a.requires_grad_() for a in given]
    gradients = torch.func.grad(loss, argnums=tuple(range(6)))
    total = torch.autograd.grad(torch.vmap(loss, dims)(*leaves).sum(), leaves)
    each = torch.vmap(gradients, dims)(*(a.detach() for a in given))
    monkeypatch.undo()  # the loop goes the way of the CPU
    ones = [
        gradients(*(a.detach() if d is None else a.detach()[s] for a, d in zip(given, dims, strict=True)))
        for s in range(3)
    ]
    for k, dim in enumerate(dims):
        want = torch.stack([one[k] for one in ones])
        torch.testing.assert_close(each[k], want)
        torch.testing.assert_close(total[k], want if dim == 0 else want.sum(0))
