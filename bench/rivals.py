"""What a particle layer's training step is compared with: plain torch, KeOps, and torch's dense layer.

Every rival is a function that makes, of a layer, a step: a call that computes z and all gradients.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bench.layers import Layer, Step

Tensor = Any
GRADIENTS = ("dx", "dr_in", "dv_in", "dr_out", "dv_out", "dbias")


class Rival(NamedTuple):
    """One way to compute a training step.

    Attributes
    ----------
    make : callable
        A step of the given layer.
    missing : str
        Why it cannot run here; empty if it can.
    stores_weights : bool
        Whether the step is handed W, which then counts as its memory.
    """

    make: Callable[[Layer], Step]
    missing: str = ""
    stores_weights: bool = False


def rivals(compiled: bool = True) -> dict[str, Rival]:
    """All rivals by name, those that cannot run here too; without ``compiled``, none under torch.compile."""
    no_torch = why_no_torch()
    found: dict[str, Rival] = {}
    for name, linear in (("torch expanded", expanded_linear), ("torch cdist", cdist_linear)):
        found[name] = Rival(partial(autograd_step, linear=linear), no_torch)
        if compiled:
            found[f"{name} compiled"] = Rival(partial(compiled_step, linear=linear), no_torch)
    found["keops"] = Rival(keops_step, no_torch or _why_no_keops())
    found["nn.Linear (stores W)"] = Rival(dense_step, no_torch, stores_weights=True)
    return found


def is_installed(package: str) -> bool:
    """Whether a package can be found; it is not imported."""
    return importlib.util.find_spec(package) is not None


def why_no_torch() -> str:
    """Why torch cannot run here; empty if it can."""
    return "" if is_installed("torch") else "torch is not installed (pip install torch)"


def _why_no_keops() -> str:
    if not is_installed("pykeops"):
        return "pykeops is not installed (pip install pykeops)"
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        return f"KeOps compiles its formulas, and there is no {compiler} (install g++, or let CXX name a compiler)"
    return ""


def autograd_step(layer: Layer, linear: Callable[..., Tensor]) -> Step:
    """``linear(x, r_in, v_in, r_out, v_out, bias)`` and its derivative by torch's autograd."""
    import torch

    *arguments, dz = (torch.from_numpy(a) for a in layer)
    arguments = [a.requires_grad_() for a in arguments]

    def step() -> dict[str, Tensor]:
        return dict(zip(GRADIENTS, torch.autograd.grad(linear(*arguments), arguments, dz), strict=True))

    return step


def compiled_step(layer: Layer, linear: Callable[..., Tensor]) -> Step:
    """The same through torch.compile."""
    import torch

    return autograd_step(layer, torch.compile(linear))


def expanded_linear(x: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, bias: Tensor) -> Tensor:
    """Plain torch, W stored; squared distances from expanded squares."""
    s = r_in.square().sum(1)[:, None] + r_out.square().sum(1) - 2 * r_in @ r_out.T
    return _torch_linear(x, s, v_in, v_out, bias)


def cdist_linear(x: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, bias: Tensor) -> Tensor:
    """Plain torch, W stored; squared distances from torch.cdist."""
    import torch

    return _torch_linear(x, torch.cdist(r_in, r_out).square(), v_in, v_out, bias)


def _torch_linear(x: Tensor, s: Tensor, v_in: Tensor, v_out: Tensor, bias: Tensor) -> Tensor:
    import torch

    return torch.addmm(bias, x, (v_in @ v_out.T) * torch.exp(-s))


def keops_linear(x: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, bias: Tensor) -> Tensor:
    """KeOps: W symbolic, one reduction over the inputs; autograd makes one more for every argument."""
    from pykeops.torch import LazyTensor

    squares = ((LazyTensor(r_out[:, None, :]) - LazyTensor(r_in[None, :, :])) ** 2).sum(-1)
    weight = (LazyTensor(v_out[:, None, :]) | LazyTensor(v_in[None, :, :])) * (-squares).exp()  # [M, N]
    # All rows at once as one vector of length B: parts of 8 or 16 rows, or a batch dimension, make every weight again.
    return (weight @ x.T.contiguous()).T + bias


def keops_step(layer: Layer) -> Step:
    """KeOps and autograd."""
    import pykeops

    pykeops.set_verbose(False)
    return autograd_step(layer, keops_linear)


def dense_step(layer: Layer) -> Step:
    """torch.nn.Linear on the layer's W, stored: it computes the gradient of W instead of those of the particles."""
    import torch

    import pn_gpu as pn

    weight = torch.from_numpy(pn.dense_weight(layer.r_out, layer.v_out, layer.r_in, layer.v_in))  # [M, N]
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight = torch.nn.Parameter(weight)
    linear.bias = torch.nn.Parameter(torch.from_numpy(layer.bias))
    x, dz = torch.from_numpy(layer.x).requires_grad_(), torch.from_numpy(layer.dz)

    def step() -> dict[str, Tensor]:
        dx, _, dbias = torch.autograd.grad(linear(x), [x, linear.weight, linear.bias], dz)
        return {"dx": dx, "dbias": dbias}

    return step


def stored_weight_gradients(layer: Layer) -> dict[str, np.ndarray]:
    """All gradients in float64 with W stored, as the formulas stand: what every step has to agree with."""
    x, r_in, v_in, r_out, v_out, _, dz = (a.astype(np.float64) for a in layer)
    s = np.zeros((len(r_in), len(r_out)))
    for axis in range(r_in.shape[1]):
        s += np.subtract.outer(r_in[:, axis], r_out[:, axis]) ** 2
    kernel = np.exp(-s)
    dipoles = v_in @ v_out.T
    dx = dz @ (dipoles * kernel).T
    pull = (x.T @ dz) * kernel  # dL/d(v_i . v_j)
    dv_in, dv_out = pull @ v_out, pull.T @ v_in
    pull *= -2 * dipoles  # dL/d(r_i - r_j) over (r_i - r_j)
    dr_in = pull.sum(axis=1)[:, None] * r_in - pull @ r_out
    dr_out = pull.sum(axis=0)[:, None] * r_out - pull.T @ r_in
    return dict(zip(GRADIENTS, (dx, dr_in, dv_in, dr_out, dv_out, dz.sum(axis=0)), strict=True))
