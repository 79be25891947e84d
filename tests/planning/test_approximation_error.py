"""The error of a plan, estimated for particles that may have moved since."""

from __future__ import annotations

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.kernels import potentials
from support import oracle
from support.clouds import make_case


@pytest.mark.parametrize("kind", ["normal", "stray", "heavy"])
def test_it_judges_what_is_computed(kind: str) -> None:
    case = make_case(kind, 2)
    plan = pn.plan(*case.particles, method="mehler", rtol=1e-2)
    assert plan.method == "mehler"
    moved = case._replace(r_in=1.2 * case.r_in, r_out=case.r_out + 0.1)
    for now in (case, moved):
        w = oracle.weight(now)
        # The plan as the kernels take it: the operator makes another where this one no longer holds.
        how = plan.how(potentials.get("gaussian"))
        dw = pn.particle_linear(np.eye(1500), *now.particles, method=how) - w
        norm = np.linalg.norm(w)
        error = pn.approximation_error(*now.particles, plan=plan)
        assert 1 / 1.3 < error.estimate / (np.linalg.norm(dw) / norm) < 1.3
        assert np.linalg.norm(dw) / norm < 1.05 * error.certificate
        assert np.linalg.norm(dw, axis=1).max() * np.sqrt(1500) / norm < 1.05 * error.worst_input
        assert np.linalg.norm(dw, axis=0).max() * np.sqrt(1200) / norm < 1.05 * error.worst_output


def test_direct_has_none() -> None:
    assert pn.approximation_error(*make_case("normal", 2).particles, method="direct") == (0, 0, 0, 0)
