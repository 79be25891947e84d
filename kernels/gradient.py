"""What every backward of the operator returns."""

from __future__ import annotations

from typing import Any, NamedTuple

Array = Any


class OperatorGradient(NamedTuple):
    """Gradients of the loss with respect to the arguments of the operator.

    ``dx`` is None when it was not asked for; the four particle gradients are None when they were not.
    """

    dx: Array | None
    dr_in: Array | None
    dv_in: Array | None
    dr_out: Array | None
    dv_out: Array | None
    dbias: Array
