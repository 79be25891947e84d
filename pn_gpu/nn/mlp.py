"""A stack of particle layers that share their node sets: the paper's network as a module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pn_gpu.checks import check_choice, check_flag, check_integer
from pn_gpu.kernels import potentials
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.torch import potential_name
from pn_gpu.model.dipole_field import check_dipole_places
from pn_gpu.model.fixed_positions import check_places
from pn_gpu.model.initialisation import INITIALISATIONS, activation_moments, dipole_sizes
from pn_gpu.nn.dipole_field import node_set
from pn_gpu.nn.linear import ParticleLinear
from pn_gpu.nn.particles import Particles


class ParticleMLP(nn.Module):
    """Particle layers with an activation between them; the last layer's output is linear (logits).

    The output particles of one layer are the input particles of the next, so that L layers have L + 1 node
    sets (Eq. 5): ``parameters()`` counts each once, ``state_dict()`` lists a shared one under both layers.

    Parameters
    ----------
    sizes : sequence of int
        Nodes of each node set, input first, at least two.
    dim : int, optional
        Dimensions of the positions: by default those of ``positions``, else 3.
    activation : callable, default torch.nn.ReLU
        Makes the module to put after each layer but the last: ``nn.GELU``, ``lambda: nn.LeakyReLU(0.1)``.
    share_particles : bool, default True
        False gives every layer two node sets of its own, which learns more for a few numbers: see
        `pn_gpu.ParticleNetwork`.
    bias, potential, method, rtol, dipole_dim, positions, input_precision, generator, device, dtype
        As in `ParticleLinear`.
    dipole_places : array or Tensor, [G, dim], optional
        Places, beside ``positions``, between which the dipoles of the inputs are interpolated: the input node set is a
        `DipoleField`, of G dipoles instead of ``sizes[0]``.
    initialisation : {"scaled", "paper"}, default "scaled"
        As in `pn_gpu.ParticleNetwork`: with "scaled" z starts at about unit size in every layer, and the logits at half
        of it, for inputs of unit mean square. `pn_gpu.nn.calibrate` measures instead.

    Attributes
    ----------
    layers : nn.ModuleList of ParticleLinear
    activations : nn.ModuleList

    Raises
    ------
    TypeError, ValueError
        As `ParticleLinear`; and if there are fewer than two sizes.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
        *,
        share_particles: bool = True,
        bias: bool = True,
        potential: str | Potential = "gaussian",
        method: str = "auto",
        rtol: float = 1e-3,
        dipole_dim: int | None = None,
        initialisation: str = "scaled",
        positions: Any = None,
        dipole_places: Any = None,
        input_precision: str | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.sizes = _check_sizes(sizes)
        self.share_particles = check_flag("share_particles", share_particles)
        if not callable(activation) or isinstance(activation, nn.Module):
            raise TypeError(
                f"activation: got {activation!r}, want a callable that makes a module, such as torch.nn.ReLU"
            )

        self.activations = nn.ModuleList(activation() for _ in self.sizes[2:])
        positions, dim = check_places(positions, self.sizes[0], dim)
        dipole_places = check_dipole_places(dipole_places, positions)
        lengths = [1.0 for _ in self.sizes[1:]]
        if check_choice("initialisation", initialisation, INITIALISATIONS) == "scaled":
            lengths = self._scaled_lengths(activation, dim, dipole_dim, potential_name(potential))

        def particles(size: int, length: float = 1.0, **places: Any) -> Particles:
            make = {"dipole_length": length, "generator": generator, "device": device, "dtype": dtype}
            return node_set(size, dim, dipole_dim, **places, **make)

        self.layers = nn.ModuleList()
        inputs = particles(self.sizes[0], positions=positions, dipole_places=dipole_places)
        for size, length in zip(self.sizes[1:], lengths, strict=True):
            layer = ParticleLinear(
                inputs,
                particles(size, length),
                bias=bias,
                potential=potential,
                method=method,
                rtol=rtol,
                input_precision=input_precision,
                generator=generator,
            )
            self.layers.append(layer)
            inputs = layer.out_particles if self.share_particles else particles(size)

    def _scaled_lengths(
        self, activation: Callable[[], nn.Module], dim: int, dipole_dim: int | None, potential: str
    ) -> list[float]:
        """Lengths of the dipoles of every layer's output set."""
        # An activation may draw random numbers, and the network may be made without memory: these are tried on the CPU.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            moments = [activation_moments(_on_numpy(activation()), num) for num in self.sizes[1:-1]]
        return dipole_sizes(
            self.sizes,
            dim if dipole_dim is None else check_integer("dipole_dim", dipole_dim, low=1),
            potentials.get(potential),
            dim,
            moments,
            coherent=self.share_particles,
        )

    def _linears(self) -> list[ParticleLinear]:
        return cast(list[ParticleLinear], list(self.layers))

    @property
    def particles(self) -> list[Particles]:
        """The node sets in the order of the layers, each once."""
        node_sets = [p for layer in self._linears() for p in (layer.in_particles, layer.out_particles)]
        return list(dict.fromkeys(node_sets))

    @property
    def num_parameters(self) -> int:
        """Parameters of the network, shared node sets counted once (Eq. 5)."""
        return sum(p.numel() for p in self.parameters())

    @property
    def num_dense_parameters(self) -> int:
        """Parameters of the dense layers of the same sizes (Eq. 6)."""
        return sum(layer.num_dense_parameters for layer in self._linears())

    def forward(self, x: Tensor) -> Tensor:
        """Logits [..., sizes[-1]] for x [..., sizes[0]]."""
        for layer, activation in zip(self.layers, self.activations, strict=False):
            x = activation(layer(x))
        return self.layers[-1](x)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw every node set and bias anew."""
        for layer in self._linears():
            layer.reset_parameters(generator)

    def to_dense(self) -> nn.Sequential:
        """The same network of `nn.Linear` layers, with copies of the activations."""
        modules: list[nn.Module] = []
        for index, layer in enumerate(self._linears()):
            modules.append(layer.to_dense())
            if index < len(self.activations):
                modules.append(copy.deepcopy(self.activations[index]))
        return nn.Sequential(*modules).train(self.training)

    def extra_repr(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        shared = "" if self.share_particles else ", share_particles=False"
        counts = f"parameters={self.num_parameters:,} (dense layers: {self.num_dense_parameters:,})"
        return f"{sizes}{shared}, {counts}"


def _on_numpy(module: nn.Module) -> Callable[[Any], Any]:
    """An activation as a function of NumPy arrays."""

    @torch.no_grad()
    def function(z: Any) -> Any:
        return module.eval()(torch.as_tensor(z, dtype=torch.float32)).double().numpy()

    return function


def _check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise TypeError(f"sizes: got {sizes!r} ({type(sizes).__name__}), want a sequence of whole numbers")
    if len(sizes) < 2:
        raise ValueError(f"sizes: got {len(sizes)} of them, want at least an input and an output size")
    return tuple(check_integer(f"sizes[{k}]", size, low=1) for k, size in enumerate(sizes))
