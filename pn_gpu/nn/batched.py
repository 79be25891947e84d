"""Several particle layers of one shape in one call: heads, experts, an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pn_gpu.checks import check_integer
from pn_gpu.nn.linear import ParticleLinear
from pn_gpu.nn.particles import keep_float32
from pn_gpu.operator import particle_linear

_NODE_SETS = ("in_particles", "out_particles")


class BatchedParticleLinear(nn.Module):
    """``z_s = x_s W_s + b_s`` for S sets of particles, each as `ParticleLinear` computes it, in one call.

    It starts as S independent layers do. The operator takes all sets at once: on the CPU small layers share the
    threads, on a GPU every kernel is launched once for all sets, unless one is computed by the Mehler method.

    Parameters
    ----------
    num_sets : int
        S, at least 1.
    in_features, out_features : int
        N and M, at least 1.
    **options
        As of `ParticleLinear`, but for ``input_precision``: dim, bias, potential, method, rtol, dipole_dim,
        initialisation, generator, device, dtype.

    Attributes
    ----------
    in_positions, in_dipoles, out_positions, out_dipoles : Parameter, [S, N, n], [S, N, d], [S, M, n] and [S, M, d]
    bias : Parameter, [S, M], or None

    Raises
    ------
    TypeError, ValueError
        As `ParticleLinear`; or if ``num_sets`` is no whole number of at least 1.
    """

    in_positions: nn.Parameter
    in_dipoles: nn.Parameter
    out_positions: nn.Parameter
    out_dipoles: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, num_sets: int, in_features: int, out_features: int, **options: Any) -> None:
        super().__init__()
        check_integer("in_features", in_features, low=1)
        check_integer("out_features", out_features, low=1)
        if "input_precision" in options:
            raise TypeError("input_precision: got one, want none: layers of several sets have no choice of it")
        if options.get("positions") is not None:
            raise TypeError("positions: got some, want none: layers of several sets train all positions")
        count = check_integer("num_sets", num_sets, low=1)
        self._stack([ParticleLinear(in_features, out_features, **options) for _ in range(count)])

    @classmethod
    def from_layers(cls, layers: Sequence[ParticleLinear]) -> BatchedParticleLinear:
        """Copies of layers of one make, side by side.

        Raises
        ------
        ValueError
            If there is none, or their shapes, potentials or methods differ.
        """
        if not layers:
            raise ValueError("layers: got none, want at least one ParticleLinear")
        made = [_make(layer) for layer in layers]
        if any(node_set.is_fixed for layer in layers for node_set in (layer.in_particles, layer.out_particles)):
            raise ValueError("layers: got one with fixed positions, want those that train all positions")
        for index, make in enumerate(made):
            if make != made[0]:
                raise ValueError(f"layers[{index}]: got {make}, want {made[0]} like the first")
        batched = cls.__new__(cls)
        nn.Module.__init__(batched)
        batched._stack(layers)
        return batched

    def _stack(self, layers: Sequence[ParticleLinear]) -> None:
        first = layers[0]
        self.num_sets, self.in_features, self.out_features = len(layers), first.in_features, first.out_features
        self.potential, self.method, self.rtol = first.potential, first.method, first.rtol
        with torch.no_grad():
            for side, node_set in zip(("in", "out"), _NODE_SETS, strict=True):
                for name in ("positions", "dipoles"):
                    each = [getattr(getattr(layer, node_set), name) for layer in layers]
                    self.register_parameter(f"{side}_{name}", nn.Parameter(torch.stack(each)))
            biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
            self.register_parameter("bias", nn.Parameter(torch.stack(biases)) if biases else None)

    def forward(self, x: Tensor) -> Tensor:
        """z [S, ..., out_features] for x [S, ..., in_features]; x for all sets alike has to be expanded to that."""
        particles = self.in_positions, self.in_dipoles, self.out_positions, self.out_dipoles
        return particle_linear(x, *particles, self.bias, self.potential, self.method, self.rtol)

    @torch.no_grad()
    def to_layers(self) -> list[ParticleLinear]:
        """A `ParticleLinear` of every set, with copies of its parameters."""
        layers = []
        for index in range(self.num_sets):
            layer = ParticleLinear(
                self.in_features,
                self.out_features,
                self.in_positions.shape[2],
                bias=self.bias is not None,
                potential=self.potential,
                method=self.method,
                rtol=self.rtol,
                dipole_dim=self.in_dipoles.shape[2],
                device=self.in_positions.device,
                dtype=self.in_positions.dtype,
            )
            for side, node_set in zip(("in", "out"), _NODE_SETS, strict=True):
                for name in ("positions", "dipoles"):
                    getattr(getattr(layer, node_set), name).copy_(getattr(self, f"{side}_{name}")[index])
            if layer.bias is not None and self.bias is not None:
                layer.bias.copy_(self.bias[index])
            layers.append(layer.train(self.training))
        return layers

    def to_dense(self) -> list[nn.Linear]:
        """An `nn.Linear` of every set."""
        return [layer.to_dense() for layer in self.to_layers()]

    @property
    def num_parameters(self) -> int:
        """Parameters of all sets (Eq. 5 of each)."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        return (
            f"num_sets={self.num_sets}, in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, potential={self.potential}, parameters={self.num_parameters:,}"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BatchedParticleLinear:
        super()._apply(keep_float32(fn), recurse)
        return self


def _make(layer: ParticleLinear) -> tuple[Any, ...]:
    """What layers have to have in common to stand side by side."""
    if not isinstance(layer, ParticleLinear):
        raise TypeError(f"layers: got {type(layer).__name__}, want ParticleLinear")
    shapes = tuple(tuple(p.shape) for p in layer._operands())
    return shapes, layer.bias is not None, layer.potential, layer.method, layer.rtol
