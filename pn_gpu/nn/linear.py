"""A linear layer between two node sets, in the place of `torch.nn.Linear`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from pn_gpu.checks import check_choice, check_flag, check_integer
from pn_gpu.dispatch import outside_transforms, readable
from pn_gpu.kernels import potentials
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import PRECISIONS, Direct, How, Mehler
from pn_gpu.kernels.room import Particles as LayerParticles
from pn_gpu.kernels.staging import Planned
from pn_gpu.kernels.torch import particle_linear, potential_name
from pn_gpu.kernels.torch.checks import check_input
from pn_gpu.kernels.torch.weight import dense_weight
from pn_gpu.model.fixed_positions import check_positions
from pn_gpu.model.initialisation import (
    INITIALISATIONS,
)
from pn_gpu.nn.checks import check_fit, check_given, check_node_set, check_same_make
from pn_gpu.nn.chooser import LayerChooser
from pn_gpu.nn.particles import Particles, fill, keep_float32, parameter_dtype
from pn_gpu.nn.start import scaled_lengths
from pn_gpu.nn.tracing import trace_layer
from pn_gpu.nn.weight import ComputedWeight
from pn_gpu.planning import MethodPlanner
from pn_gpu.planning.calls import computed_whole, is_never_fast

if TYPE_CHECKING:
    from pn_gpu.dense_fit import DenseFit
    from pn_gpu.nn.parallel import TensorParallel


class ParticleLinear(nn.Module):
    """``z = x W + b`` with ``w_ij = (v_i . v_j) k(|r_i - r_j|^2)``, W never stored (the paper's Eq. 3 and 4).

    Takes the place of ``nn.Linear(in_features, out_features)`` in any model.

    Parameters
    ----------
    in_features, out_features : int or Particles
        The input and output node sets: a number makes a new one, a `Particles` is used as it is and so shared
        with whatever else holds it.
    dim : int, optional
        Dimensions of the positions of new node sets: by default those of a given `Particles` or of ``positions``, else
        3.
    bias : bool, default True
    potential : str or Potential, default "gaussian"
        The pairwise function k(s), by name or registered under its name.
    method : {"auto", "direct", "mehler"}, default "auto"
        As in `pn_gpu.particle_linear`, planned anew as the particles move: under torch.compile when the graph runs.
        Where they cannot be read (CUDA graph capture, vmap over particles) the plan in use serves, if there is one; but
        a graph that is captured while particles are trained computes every weight, as they move on under it.
    rtol : float, default 1e-3
        As in `pn_gpu.particle_linear`.
    dipole_dim : int, optional
        Dimensions of the dipoles of new node sets: by default those of a given `Particles`, else of the positions.
    initialisation : {"scaled", "paper"}, default "scaled"
        Length of the dipoles of new node sets. paper: 1, under which z grows with the width. scaled: such that z starts
        at about unit size; of the output set if that is new, else of the input set. Inputs of unit mean square are
        assumed, for a new input set; for a given one, activations (ReLU) of a layer whose output set it is.
        `pn_gpu.nn.calibrate` measures instead.
    positions : array or Tensor, [in_features, dim], optional
        Of a new input node set: where the inputs are, given and not trained, as in `Particles`.
    input_precision : {None, "ieee", "tf32", "bf16x3"}, default None
        How a GPU takes products of float32 inputs; None follows `torch.set_float32_matmul_precision`.
    generator : torch.Generator, optional
        Source of the initial values: input particles, output particles, bias, in this order.
    device : torch.device or str, optional
    dtype : {torch.float32, torch.float64}, optional
        As in `Particles`; the bias has it too.

    Attributes
    ----------
    in_particles, out_particles : Particles
    bias : Parameter, [out_features], or None
        Glorot-uniform at the start: within +-sqrt(6 / (in_features + out_features)).
    in_features, out_features : int
    dense_fit : DenseFit or None
        What was lost, of a layer that `from_linear` made.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or out of range, or two node sets do not fit each other.
    """

    bias: nn.Parameter | None
    dense_fit: DenseFit | None = None

    def __init__(
        self,
        in_features: int | Particles,
        out_features: int | Particles,
        dim: int | None = None,
        bias: bool = True,
        potential: str | Potential = "gaussian",
        method: str = "auto",
        rtol: float = 1e-3,
        *,
        dipole_dim: int | None = None,
        initialisation: str = "scaled",
        positions: Any = None,
        input_precision: str | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.potential = potential_name(potential)
        self.planner = MethodPlanner(method, rtol, self.potential)
        self._chooser = LayerChooser(self.planner)
        if input_precision is not None:
            check_choice("input_precision", input_precision, PRECISIONS)
        self.input_precision = input_precision
        self.tensor_parallel: TensorParallel | None = None

        given = [p for p in (in_features, out_features) if isinstance(p, Particles)]
        if given:
            dim = check_given("dim", dim, given[0].dim)
            dipole_dim = check_given("dipole_dim", dipole_dim, given[0].dipole_dim)
            device = given[0].positions.device if device is None else device
            dtype = given[0].positions.dtype if dtype is None else dtype

        if positions is not None:
            if isinstance(in_features, Particles):
                raise ValueError("positions: got them beside in_features of Particles, want a number of in_features")
            positions = check_positions(positions, check_integer("in_features", in_features, low=1), dim)
            dim = positions.shape[1]

        def node_set(features: int | Particles, length: float, positions: Any = None) -> Particles:
            if isinstance(features, Particles):
                return features
            return Particles(
                features,
                dim,
                dipole_dim,
                dipole_length=length,
                positions=positions,
                generator=generator,
                device=device,
                dtype=dtype,
            )

        in_length, out_length = 1.0, 1.0
        if check_choice("initialisation", initialisation, INITIALISATIONS) == "scaled":
            in_length, out_length = scaled_lengths(
                in_features, out_features, 3 if dim is None else dim, dipole_dim, self.potential
            )
        self.in_particles = node_set(in_features, in_length, positions)
        self.out_particles = node_set(out_features, out_length)
        check_same_make(self.in_particles, self.out_particles)
        if check_flag("bias", bias):
            empty = torch.empty(self.out_features, device=device, dtype=parameter_dtype(dtype))
            self.bias = nn.Parameter(empty)
        else:
            self.register_parameter("bias", None)
        self._reset_bias(generator)

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, dim: int = 3, dipole_dim: int | None = None, **fit_options: Any
    ) -> ParticleLinear:
        """The layer of particles whose weights come nearest to trained ones, with the bias carried over.

        Weights that were trained freely are not those of particles: the fit is a start for training on, best with the
        old model's outputs as targets, and ``print(layer.dense_fit)`` says what it has lost.

        Parameters
        ----------
        linear : torch.nn.Linear
            It stays as it is.
        dim : int, default 3
        dipole_dim : int, optional
            As in the class; many dipole dimensions lose less.
        **fit_options
            ``steps``, ``lr``, ``seed`` and ``progress`` of `pn_gpu.fit_to_dense`.

        Returns
        -------
        ParticleLinear
            With the Gaussian, on the same device, of the same dtype (float32 where that is of 16 bits).

        Raises
        ------
        TypeError, ValueError
            If ``linear`` is no such layer, its weights are not finite or all 0, or a number is out of range.
        """
        from pn_gpu.nn.dense_fit import fitted_layer  # which makes layers of this class

        return fitted_layer(linear, dim, dipole_dim, fit_options)

    @property
    def method(self) -> str:
        """How the layer is computed: "auto", "direct" or "mehler"."""
        return self.planner.method

    @property
    def rtol(self) -> float:
        """Tolerance of the Mehler method."""
        return self.planner.rtol

    @property
    def in_features(self) -> int:
        return self.in_particles.num

    @property
    def out_features(self) -> int:
        return self.out_particles.num

    @property
    def weight(self) -> Tensor:
        """W^T [out_features, in_features] as `torch.nn.Linear` has it, computed anew at every access.

        For plots, tests and code that looks into an ``nn.Linear``: it takes the O(N M) time and memory that the layer
        saves, and so does ``hasattr(layer, "weight")``. It is differentiable once where gradients are recorded;
        writing to it is an error. Where processes share the particles out (FSDP2, tensor parallelism) all have to ask.
        """
        weight = dense_weight(*map(_gathered, self._operands()), self.potential).T
        return weight if torch.compiler.is_compiling() else weight.as_subclass(ComputedWeight)

    @property
    def num_parameters(self) -> int:
        """Parameters of this layer with both its node sets (Eq. 5 with one layer)."""
        return sum(p.numel() for p in self.parameters())

    @property
    def num_dense_parameters(self) -> int:
        """Parameters of the dense layer of the same shape (Eq. 6)."""
        return (self.in_features + (self.bias is not None)) * self.out_features

    def forward(self, x: Tensor) -> Tensor:
        """z [..., out_features] for x [..., in_features], in the dtype of x or of autocast."""
        if isinstance(x, Proxy):
            return trace_layer(self, x)
        if self.tensor_parallel is not None:
            return self.tensor_parallel.forward(self, x)
        return self._compute(x, self._operands(), self.bias)

    def _compute(self, x: Tensor, particles: LayerParticles, bias: Tensor | None) -> Tensor:
        """z for these particles: the layer's, or this process's part of them."""
        check_fit(particles, bias)
        check_input(x, particles.r_in)
        return particle_linear(x, particles, bias, self._how(x, particles))

    def _how(self, x: Tensor, particles: LayerParticles) -> How | Planned:
        """How to compute this call: as planned, now or when the graph runs that is being traced."""
        potential, planner = potentials.get(self.potential), self.planner
        direct = Direct(potential, self.input_precision)
        if planner.method == "direct" or (planner.method == "auto" and is_never_fast(particles, potential)):
            return direct
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            return Planned(self._chooser.number, self.potential, self.input_precision, planner.method, planner.rtol)
        plain = readable(particles)
        with outside_transforms():
            if plain is None:
                plan = self._chooser.plan_unread(x, particles)
            else:
                plan = self._chooser.plan(x, plain, self.input_precision)
        if plan is None:
            return computed_whole(direct, particles)
        return direct if plan.approximation is None else Mehler(plan.approximation)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._chooser = LayerChooser(self.planner)  # a copy plans for itself

    @torch.no_grad()
    def scale_outputs(self, factor: float) -> None:
        """Multiply the dipoles of the output set, and so z without its bias, by ``factor``."""
        self.planner.reset()
        self.out_particles.dipole_parameter.mul_(factor)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw both node sets and the bias anew; for shared node sets, whoever shares them sees it."""
        self.planner.reset()
        self.in_particles.reset_parameters(generator)
        if self.out_particles is not self.in_particles:
            self.out_particles.reset_parameters(generator)
        self._reset_bias(generator)

    @torch.no_grad()
    def to_dense(self) -> nn.Linear:
        """An `nn.Linear` of the same weights and bias, on the same device, of the same dtype."""
        weight = self.weight
        linear = nn.utils.skip_init(
            nn.Linear,
            self.in_features,
            self.out_features,
            bias=self.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        linear.weight.copy_(weight)
        if self.bias is not None:
            linear.bias.copy_(_gathered(self.bias))
        return linear.train(self.training)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, potential={self.potential}, "
            f"parameters={self.num_parameters:,} (a dense layer: {self.num_dense_parameters:,})"
        )

    def _operands(self) -> LayerParticles:
        return LayerParticles(*self.in_particles(), *self.out_particles())

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            raise AttributeError(
                "weight: got a new value, want none: it is computed from the particles; change in_particles and "
                "out_particles instead"
            )
        if name in ("in_particles", "out_particles"):
            check_node_set(name, value)
            self.planner.reset()
        super().__setattr__(name, value)

    def _reset_bias(self, generator: torch.Generator | None) -> None:
        if self.bias is None:
            return
        bound = math.sqrt(6 / (self.in_features + self.out_features))
        with torch.no_grad():
            fill(self.bias, lambda t: nn.init.uniform_(t, -bound, bound, generator=generator), generator)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ParticleLinear:
        super()._apply(keep_float32(fn), recurse)
        return self


def _gathered(parameter: Tensor) -> Tensor:
    """All of a parameter, of which every process may have but a part."""
    return parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
