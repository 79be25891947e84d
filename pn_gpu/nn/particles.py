"""A node set as a module: the positions and dipoles of the particles of one layer's nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pn_gpu.checks import check_integer, check_number
from pn_gpu.model.fixed_positions import check_places
from pn_gpu.model.initialisation import INITIAL_SPREAD

PARTICLE_DTYPES = (torch.float32, torch.float64)


class Particles(nn.Module):
    """A node set: particles with positions in R^n and dipoles in R^d.

    Hand the same object to two layers and they share it: its gradient is the sum of what both give it, and
    ``parameters()`` counts it once.

    Particles stay in float32 when a module is cast to 16 bits (``half()``, ``bfloat16()``,
    ``to(torch.bfloat16)``): a weight depends on differences of positions, which 16 bits round away, and there
    are only O(N) of them. Layers compute in the dtype of their input all the same.

    Parameters
    ----------
    num : int
        Number of particles, at least 1.
    dim : int, optional
        Dimensions n of a position, at least 1: by default those of ``positions``, else 3.
    dipole_dim : int, optional
        Dimensions d of a dipole, at least 1; by default those of a position.
    dipole_length : float, default 1
        Length of the dipoles at the start, above 0.
    positions : array or Tensor, [num, dim], optional
        Where the nodes are, if that is known: pixels, sensors, samples in time. They stay as given: a buffer, which
        ``state_dict()`` and ``to()`` know and optimisers and ``parameters()`` do not. See `pn_gpu.ParticleNetwork` on
        their scale and `pn_gpu.nn.with_inputs` on their exchange.
    generator : torch.Generator, optional
        Source of the initial values, of any device; by default torch's global one.
    device : torch.device or str, optional
    dtype : {torch.float32, torch.float64}, optional
        By default torch's default dtype, or float32 where that is of 16 bits.

    Attributes
    ----------
    positions : Parameter, [num, dim], or Tensor where they are fixed
        Drawn from N(0, 0.5^2), or as given.
    dipoles : Parameter, [num, dipole_dim]
        Drawn from N(0, 0.5^2), then scaled to ``dipole_length``, once.

    Raises
    ------
    TypeError, ValueError
        If a number is none or less than 1, the dtype is not one of the two, or ``positions`` are of another shape or
        not finite.
    """

    positions: Tensor
    dipoles: nn.Parameter

    def __init__(
        self,
        num: int,
        dim: int | None = None,
        dipole_dim: int | None = None,
        *,
        dipole_length: float = 1.0,
        positions: Any = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num = check_integer("num", num, low=1)
        given, self.dim = check_places(positions, self.num, dim)
        self.dipole_dim = self.dim if dipole_dim is None else check_integer("dipole_dim", dipole_dim, low=1)
        self.dipole_length = check_number("dipole_length", dipole_length, low=0, low_open=True)
        dtype = parameter_dtype(dtype)
        if given is None:
            self.positions = nn.Parameter(torch.empty(self.num, self.dim, device=device, dtype=dtype))
        else:
            self.register_buffer("positions", torch.as_tensor(given, device=device, dtype=dtype))
        self._make_dipoles(device, dtype)
        self.reset_parameters(generator)

    def _make_dipoles(self, device: torch.device | str | None, dtype: torch.dtype) -> None:
        self.dipoles = nn.Parameter(torch.empty(self.num, self.dipole_dim, device=device, dtype=dtype))

    @property
    def dipole_parameter(self) -> nn.Parameter:
        """What the dipoles are made of, and in proportion to: themselves, of ordinary node sets."""
        return self.dipoles

    @property
    def _start_length(self) -> float:
        """Length of the vectors in `dipole_parameter` at the start."""
        return self.dipole_length

    @property
    def is_fixed(self) -> bool:
        """Whether the positions were given, and stay."""
        return "positions" in self._buffers

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw positions and dipoles anew, positions first; fixed positions stay.

        They are drawn by `torch.nn.init`, so that libraries which keep it from overwriting what they have loaded, such
        as transformers, are heeded.
        """
        for parameter in self.parameters(recurse=False):
            version = parameter._version
            fill(parameter, lambda t: nn.init.normal_(t, std=INITIAL_SPREAD, generator=generator), generator)
            if parameter is self.dipole_parameter and parameter._version != version:
                parameter.copy_(self._start_length * nn.functional.normalize(parameter, dim=1))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Positions and dipoles: layers call their node sets, so that hooks on a set see it used.

        They are the parameters themselves, or copies where somebody manages them: FSDP frees its own after the call.
        """
        positions, dipoles = self.positions, self.dipoles
        if self._forward_hooks or type(dipoles) is not nn.Parameter:
            return positions.clone(), dipoles.clone()
        return positions, dipoles

    def extra_repr(self) -> str:
        shape = f"num={self.num}, dim={self.dim}" + (", fixed positions" if self.is_fixed else "")
        return shape if self.dipole_dim == self.dim else f"{shape}, dipole_dim={self.dipole_dim}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Particles:
        super()._apply(keep_float32(fn), recurse)
        return self


def fill(parameter: Tensor, draw: Callable[[Tensor], Tensor], generator: torch.Generator | None) -> None:
    """``draw`` into ``parameter``, on the generator's device where that is another one."""
    if generator is None or generator.device.type == parameter.device.type or parameter.is_meta:
        draw(parameter)
    else:
        parameter.copy_(draw(torch.empty_like(parameter, device=generator.device)))


def parameter_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype of particles and biases that a user's ``dtype`` stands for."""
    if dtype is None:
        return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
    if dtype not in PARTICLE_DTYPES:
        raise TypeError(
            f"dtype: got {dtype}, want torch.float32 or torch.float64; particles are not kept in 16 bits, a "
            "layer computes in the dtype of its input"
        )
    return dtype


def keep_float32(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``fn`` as `torch.nn.Module._apply` takes it, with float32 in place of any 16-bit result."""

    def convert(tensor: Tensor) -> Tensor:
        result = fn(tensor)
        if result.dtype in (torch.float16, torch.bfloat16):
            return tensor.to(device=result.device, dtype=torch.float32)
        return result

    return convert


def shared_particles(module: nn.Module) -> dict[str, str]:
    """The names under which a node set of ``module`` occurs again, with the name under which it occurs first.

    For what saves a model by names and wants to know which of them are one: ``_tied_weights_keys`` of transformers.

    Examples
    --------
    >>> shared_particles(ParticleMLP([784, 512, 10]))
    {'layers.1.in_particles': 'layers.0.out_particles'}
    """
    first: dict[nn.Module, str] = {}
    names = module.named_modules(remove_duplicate=False)
    found = {name: first.setdefault(part, name) for name, part in names if isinstance(part, Particles)}
    return {name: source for name, source in found.items() if name != source}
