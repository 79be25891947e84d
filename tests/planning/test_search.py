"""The search for an expansion of many particles."""

from __future__ import annotations

import numpy as np

from pn_gpu.planning import search
from support import oracle


def test_of_many_particles_rare_strays_are_worth_a_larger_expansion(monkeypatch) -> None:
    case = oracle.random_case(1, 6000, 5000, 2, seed=3)
    inputs, outputs = search.Nodes(case.r_in, case.v_in), search.Nodes(case.r_out, case.v_out)
    norm = search.samples.sampled_norm(inputs, outputs, 160, np.random.default_rng(0))

    def cost(features: int, left_out_in: int, left_out_out: int) -> float:
        return features + 20 * (left_out_in + left_out_out)

    problem = search.Problem(inputs, outputs, 1e-3, norm, cost)
    candidates = search._Candidates(search.find_frame(inputs.r, outputs.r), 60, problem)
    small = search.approximate(candidates.expansion(19), inputs, outputs, 1e-3, norm)
    assert small is not None
    assert search._with_fewer_left_out(small, candidates, problem) is small  # all particles have been looked at
    monkeypatch.setattr(search, "PART", 256)
    better = search._with_fewer_left_out(small, candidates, problem)
    assert cost(*better.approximation.size) < cost(*small.approximation.size)
    assert better.approximation.size[0] > small.approximation.size[0]
    assert better.estimate <= 1e-3
