"""How far an approximate layer is from the exact one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pn_gpu.checks import check_integer
from pn_gpu.dispatch import check_arrays, check_particles
from pn_gpu.kernels import potentials
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Particles
from pn_gpu.planning import samples as sampling
from pn_gpu.planning.decision import plan as make_plan
from pn_gpu.planning.decision import to_numpy
from pn_gpu.planning.plan import Plan
from pn_gpu.planning.remainder import Nodes, certificate, remainder

Array = Any


class ApproximationError(NamedTuple):
    """Errors of W relative to |W|_F, in exact arithmetic; all 0 for a direct plan.

    ``estimate`` is measured on sampled weights, within a factor of 1.5 of the truth as a rule.
    ``certificate`` cannot be exceeded, whatever the positions (as far as |W|_F, sampled too, is known).
    ``worst_input`` and ``worst_output`` bound the error of a single row or column of W, relative to the root
    mean square row or column.
    """

    estimate: float
    certificate: float
    worst_input: float
    worst_output: float


def approximation_error(
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    plan: Plan | None = None,
    potential: str | Potential = "gaussian",
    method: str = "mehler",
    rtol: float = 1e-3,
    samples: int = 512,
    seed: int = 0,
) -> ApproximationError:
    """Measure and bound the error of the weights that a plan computes, for particles where they are now.

    Parameters
    ----------
    r_in, v_in, r_out, v_out, potential
        As in `particle_linear`.
    plan : Plan, optional
        What to judge, for instance a plan made when the particles lay elsewhere; by default the one that
        `plan` makes with ``method`` and ``rtol``.
    samples : int, default 512
        Rows and columns of W to draw: the estimate looks at samples^2 weights.
    seed : int, default 0
        Of the drawing.

    Returns
    -------
    ApproximationError

    Raises
    ------
    ValueError, TypeError
        As `plan`; also if the plan was made for another layer.
    """
    if plan is None:
        plan = make_plan(r_in, v_in, r_out, v_out, potential=potential, method=method, rtol=rtol)
    elif not isinstance(plan, Plan):
        raise TypeError(f"plan: got {type(plan).__name__}, want a Plan")
    check_arrays(r_in=r_in, v_in=v_in, r_out=r_out, v_out=v_out)
    check_particles(Particles(r_in, v_in, r_out, v_out))
    plan.check_fits(potentials.get(potential), r_in, v_in, r_out)
    samples = check_integer("samples", samples, low=1)
    seed = check_integer("seed", seed, low=0)
    if plan.approximation is None:
        return ApproximationError(0.0, 0.0, 0.0, 0.0)
    inputs, outputs = Nodes(to_numpy(r_in), to_numpy(v_in)), Nodes(to_numpy(r_out), to_numpy(v_out))
    expansion = plan.approximation.expansion
    missed_in, missed_out = remainder(expansion, inputs), remainder(expansion, outputs)
    kept_in, kept_out = (np.ones(len(nodes.r), dtype=bool) for nodes in (inputs, outputs))
    kept_in[plan.approximation.left_out_in] = False
    kept_out[plan.approximation.left_out_out] = False
    rng = np.random.default_rng(seed)
    norm = sampling.sampled_norm(inputs, outputs, samples, rng)
    if norm == 0:
        return ApproximationError(0.0, 0.0, 0.0, 0.0)
    weights = (missed_in.e * kept_in, missed_out.e * kept_out)
    estimate = sampling.sampled_error(expansion, inputs, weights[0], outputs, weights[1], samples, rng)
    sums_in, sums_out = missed_in.sums(~kept_in), missed_out.sums(~kept_out)
    return ApproximationError(
        estimate / norm,
        certificate(sums_in, sums_out) / norm,
        float((missed_in.bounds(sums_out) * kept_in).max()) * math.sqrt(len(inputs.r)) / norm,
        float((missed_out.bounds(sums_in) * kept_out).max()) * math.sqrt(len(outputs.r)) / norm,
    )
