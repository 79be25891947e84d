"""Checks of a layer's parts, any of which a user may exchange after it was made."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pn_gpu.checks import check_integer
from pn_gpu.kernels.room import Particles


def check_node_set(name: str, value: Any) -> None:
    """A module that can be a layer's node set: a `Particles`, or one that somebody wrapped."""
    if not isinstance(value, nn.Module) or not (hasattr(value, "positions") and hasattr(value, "dipoles")):
        raise TypeError(f"{name}: got {type(value).__name__}, want Particles")


def check_fit(particles: Particles, bias: Tensor | None) -> None:
    """Node sets and a bias that fit each other, in shape, dtype and device."""
    r_in, v_in, r_out, v_out = particles
    if r_in.shape[1] != r_out.shape[1]:
        raise ValueError(f"out_particles: got dim {r_out.shape[1]}, want {r_in.shape[1]} like in_particles")
    if v_in.shape[1] != v_out.shape[1]:
        raise ValueError(f"out_particles: got dipole_dim {v_out.shape[1]}, want {v_in.shape[1]} like in_particles")
    if r_in.dtype != r_out.dtype:
        raise TypeError(f"out_particles: got dtype {r_out.dtype}, want {r_in.dtype} like in_particles")
    if r_in.device != r_out.device:
        raise ValueError(f"out_particles: got device {r_out.device}, want {r_in.device} like in_particles")
    if bias is not None and bias.shape[0] != r_out.shape[0]:
        raise ValueError(f"bias: got {bias.shape[0]} of them, want {r_out.shape[0]}, as many as out_particles")


def check_given(name: str, value: int | None, of_particles: int) -> int:
    """A number of dimensions beside particles that have theirs already."""
    if value is not None and check_integer(name, value, low=1) != of_particles:
        raise ValueError(f"{name}: got {value}, want {of_particles} like the particles that were given, or none")
    return of_particles


def check_same_make(inputs: nn.Module, outputs: nn.Module) -> None:
    """Two node sets that a layer can connect: of the same dimensions, device and dtype."""
    for name in ("dim", "dipole_dim"):
        got, want = getattr(outputs, name), getattr(inputs, name)
        if got != want:
            raise ValueError(f"out_features: got particles of {name} {got}, want {want} like those of in_features")
    for name in ("device", "dtype"):
        got, want = getattr(outputs.positions, name), getattr(inputs.positions, name)
        if got != want:
            error = ValueError if name == "device" else TypeError
            raise error(f"out_features: got particles of {name} {got}, want {want} as in_features has")
