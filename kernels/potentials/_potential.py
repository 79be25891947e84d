"""What a pairwise function is, and the register of those that exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any


@dataclass(frozen=True)
class Potential:
    """A pairwise function k(s) of the squared distance s = |r_i - r_j|^2.

    Parameters
    ----------
    name : str
        What a user passes as ``potential=``.
    value : callable
        ``value(s)``: k(s), elementwise, for an array s >= 0 of any supported library.
    derivative : callable
        ``derivative(s)``: dk/ds, elementwise. Where dk/ds is singular at s = 0 it returns 0 there, so that
        k'(s) (r_i - r_j) is 0 for coincident particles.
    smooth_at_zero : bool, default True
        False where dk/ds has no finite limit at s = 0. Squared distances are then summed from exact
        differences, because rounding in an expanded square would be magnified by the singularity.
    cuda_value, cuda_derivative : str, optional
        The same two functions as CUDA C++ expressions of a variable ``s`` of type ``T`` (float or double),
        for the CuPy kernels. Besides C++ they may use ``exp_``, ``sqrt_``, ``rsqrt_`` (1 / sqrt), ``rcp_`` (1 / s),
        ``pow3_`` and ``pow4_``.
    triton_value, triton_derivative : callable, optional
        The same two functions as ``@triton.jit`` functions of one block of squared distances, for the Triton
        kernels.
    second_derivative : callable, optional
        ``second_derivative(s)``: d2k/ds2, elementwise, for gradients of gradients, which are refused without it.
        Where it is singular at s = 0 it returns 0 there. Derivatives beyond the second are torch's own of it.
    """

    name: str
    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    smooth_at_zero: bool = True
    cuda_value: str | None = None
    cuda_derivative: str | None = None
    triton_value: Any = None
    triton_derivative: Any = None
    second_derivative: Callable[[Array], Array] | None = None


_registered: dict[str, Potential] = {}


def register(potential: Potential) -> Potential:
    """Make ``potential`` known under its name and return it.

    Raises
    ------
    TypeError
        If ``potential`` is no `Potential`.
    ValueError
        If the name is taken.
    """
    if not isinstance(potential, Potential):
        raise TypeError(f"potential: got {type(potential).__name__}, want a Potential")
    if potential.name in _registered:
        raise ValueError(f"potential: the name {potential.name!r} is already registered")
    _registered[potential.name] = potential
    return potential


def get(name: str | Potential) -> Potential:
    """The potential called ``name``; a `Potential` is returned as it is.

    Raises
    ------
    ValueError
        If no potential of that name is registered.
    """
    if isinstance(name, Potential):
        return name
    if not isinstance(name, str) or name not in _registered:
        raise ValueError(f"potential: got {name!r}, want one of {', '.join(names())}")
    return _registered[name]


def names() -> list[str]:
    """The names of all registered potentials, built-in ones first."""
    return list(_registered)
