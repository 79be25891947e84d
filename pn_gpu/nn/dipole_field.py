"""A node set at known places whose dipoles are interpolated between few places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pn_gpu.backends import to_numpy
from pn_gpu.model.dipole_field import field_matrix, initial_length
from pn_gpu.model.fixed_positions import check_positions
from pn_gpu.nn.particles import Particles


class DipoleField(Particles):
    """Particles at known places with ``v_i = sum_g I_ig u_g``: dipoles at few places, interpolated at the nodes.

    Takes the place of `Particles` in a layer: ``ParticleLinear(DipoleField(positions, dipole_places, 8), 64)``. It has
    G d parameters, whatever the number of nodes; see ``dipole_places`` of `pn_gpu.ParticleNetwork`.

    Parameters
    ----------
    positions : array or Tensor, [num, dim]
        Where the nodes are; they stay as given.
    dipole_places : array or Tensor, [G, dim]
        Where the dipoles are numbers of their own, in the same units: `pn_gpu.grid_positions` of a coarser grid. They
        stay as given too.
    dipole_dim, dipole_length, generator, device, dtype
        As in `Particles`; ``dipole_length`` is the root mean square over the nodes.

    Attributes
    ----------
    positions, dipole_places : Tensor
        As given: buffers.
    dipole_values : Parameter, [G, dipole_dim]
        The u_g.
    dipoles : Tensor, [num, dipole_dim]
        Computed anew at every access.

    Raises
    ------
    TypeError, ValueError
        As `Particles`; or if the places are of another dimension than the positions, or not finite.
    """

    dipole_places: Tensor
    dipole_values: nn.Parameter
    _interpolation: Tensor

    def __init__(
        self,
        positions: Any,
        dipole_places: Any,
        dipole_dim: int | None = None,
        *,
        dipole_length: float = 1.0,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        nodes = check_positions(positions)
        self._given = check_positions(dipole_places, dim=nodes.shape[1], name="dipole_places")
        super().__init__(
            len(nodes),
            nodes.shape[1],
            dipole_dim,
            dipole_length=dipole_length,
            positions=nodes,
            generator=generator,
            device=device,
            dtype=dtype,
        )

    def _make_dipoles(self, device: torch.device | str | None, dtype: torch.dtype) -> None:
        places = torch.as_tensor(self._given, device=device, dtype=dtype)
        del self._given
        self.register_buffer("dipole_places", places)
        # It follows from the places, so that files need not have it.
        empty = torch.empty(self.num, len(places), device=device, dtype=dtype)
        self.register_buffer("_interpolation", empty, persistent=False)
        self.dipole_values = nn.Parameter(torch.empty(len(places), self.dipole_dim, device=device, dtype=dtype))
        self._unit_length = 1.0
        self._interpolate()

    @torch.no_grad()
    def _interpolate(self) -> None:
        """Make I of the places; of those without memory there is none."""
        if not self.positions.is_meta:
            matrix = field_matrix(to_numpy(self.dipole_places), to_numpy(self.positions))
            self._unit_length = initial_length(matrix)
            self._interpolation.copy_(torch.as_tensor(matrix))

    @property
    def dipoles(self) -> Tensor:  # type: ignore[override, unused-ignore]  # without torch the base is unknown
        return self._interpolation @ self.dipole_values

    @property
    def dipole_parameter(self) -> nn.Parameter:
        return self.dipole_values

    @property
    def _start_length(self) -> float:
        return self.dipole_length * self._unit_length

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.positions, self.dipoles

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dipoles interpolated between {len(self.dipole_values)} places"

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._interpolate()


def node_set(
    num: int, dim: int | None, dipole_dim: int | None, positions: Any = None, dipole_places: Any = None, **make: Any
) -> Particles:
    """`Particles`, or a `DipoleField` where there are places of dipoles."""
    if dipole_places is None:
        return Particles(num, dim, dipole_dim, positions=positions, **make)
    return DipoleField(positions, dipole_places, dim if dipole_dim is None else dipole_dim, **make)
