"""What a staged call refers to by a number, since a graph holds no Python objects: who chooses how a layer is computed
when the graph runs, and what was chosen, for the backward.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from pn_gpu.kernels.room import Array, How, Particles, Residuals

# Choices of one graph whose backward is still to come; each holds a few kilobytes.
MOST_CHOICES = 4096
# Forwards of graphs whose residuals are kept until their backward: the layers of one step. Others find out anew.
MOST_RESIDUALS = 16


class Chooser(Protocol):
    """Chooses how to compute a layer from its particles as they are."""

    def choose(self, x: Array, particles: Particles, planned: Planned) -> How:
        """How to compute a call with the inputs x [..., N]."""


@dataclass(frozen=True)
class Planned:
    """A call that is planned when its graph runs, not when it is traced.

    Parameters
    ----------
    chooser : int
        The number of a `Chooser`.
    potential : str
        The name of a registered potential.
    precision : {None, "ieee", "tf32", "bf16x3"}
    method : str
    rtol : float
    """

    chooser: int
    potential: str
    precision: str | None
    method: str
    rtol: float


_numbers = itertools.count()
_choosers: WeakValueDictionary[int, Chooser] = WeakValueDictionary()
_choices: OrderedDict[int, How] = OrderedDict()
_residuals: OrderedDict[int, Residuals] = OrderedDict()


def add_chooser(chooser: Chooser) -> int:
    """A number for a chooser, which is not kept alive by it."""
    number = next(_numbers)
    _choosers[number] = chooser
    return number


def chooser_of(number: int) -> Chooser:
    """The chooser of a number.

    Raises
    ------
    RuntimeError
        If there is none in this process any more.
    """
    chooser = _choosers.get(number)
    if chooser is None:
        raise RuntimeError("the layer whose plan this graph asks for is gone, or was made in another process")
    return chooser


def remember(how: How, residuals: Residuals | None) -> int:
    """A number under which `recall` finds what was chosen, and `take_residuals` what the forward leaves."""
    number = next(_numbers)
    _choices[number] = how
    if len(_choices) > MOST_CHOICES:
        _choices.popitem(last=False)
    if residuals is not None:
        _residuals[number] = residuals
        if len(_residuals) > MOST_RESIDUALS:
            _residuals.popitem(last=False)
    return number


def recall(number: int) -> How:
    """What was chosen under a number.

    Raises
    ------
    RuntimeError
        If it has been forgotten.
    """
    if number not in _choices:
        raise RuntimeError(f"the plan of this forward has been forgotten: {MOST_CHOICES} others were made since")
    return _choices[number]


def take_residuals(number: int) -> Residuals | None:
    """What the forward of a number left to its backward, once."""
    return _residuals.pop(number, None)
