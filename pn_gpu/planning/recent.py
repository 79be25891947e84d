"""Plans of single calls, found again by the content of the particles: a backward reuses the plan of its forward."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.kernels.potentials import Potential
from pn_gpu.planning.decision import decide, to_numpy
from pn_gpu.planning.plan import Plan

Array = Any

# Layers of one network in turn; a plan is small.
MOST_PLANS = 16

_plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()


def single_call_plan(
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    batch: int,
    potential: Potential,
    method: str,
    rtol: float,
) -> Plan:
    """The plan of a call that brings none; its time counts for "auto"."""
    particles = (r_in, v_in, r_out, v_out)
    key = (_digest(particles), batch, potential, method, rtol, str(r_in.dtype), str(compat.device(r_in)))
    plan = _plans.pop(key, None)
    if plan is None:
        plan = decide(*particles, batch, potential, method, rtol, single_call=True)
    _plans[key] = plan
    while len(_plans) > MOST_PLANS:
        _plans.popitem(last=False)
    return plan


def _digest(arrays: tuple[Array, ...]) -> bytes:
    """A fingerprint of shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for a in arrays:
        digest.update(repr(tuple(a.shape)).encode())
        digest.update(np.ascontiguousarray(a if isinstance(a, np.ndarray) else to_numpy(a)).data)
    return digest.digest()
