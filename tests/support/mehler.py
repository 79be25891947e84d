"""Expansions for the tests of the Mehler method."""

from __future__ import annotations

from math import factorial

import numpy as np

from pn_gpu.kernels.mehler import Approximation, Expansion
from pn_gpu.kernels.mehler.expansion import make_expansion, ranked_degrees, rate


def expansion(dim: int, features: int, spread: float = 0.5, seed: int = 0) -> Expansion:
    """An expansion about a point near the origin, in turned axes of unequal rates."""
    rng = np.random.default_rng(seed)
    rates = np.array([rate(spread * (1 + 0.1 * axis)) for axis in range(dim)])
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    degrees, _ = ranked_degrees(rates, features)
    return make_expansion(0.1 * rng.standard_normal(dim), rotation, rates, degrees[:features])


def approximation(dim: int, features: int, left_out_in=(), left_out_out=(), **options) -> Approximation:
    """The same with left-out particles."""
    left_out = (np.array(indices, dtype=np.int64) for indices in (left_out_in, left_out_out))
    return Approximation(expansion(dim, features, **options), *left_out)


def features(expansion: Expansion, r: np.ndarray) -> np.ndarray:
    """Phi [P, N] in float64 by the explicit formula with Hermite polynomials, not by the library's
    recurrence."""
    u = (r.astype(np.float64) - expansion.centre) @ expansion.rotation
    phi = np.ones((expansion.num_features, len(r)))
    for axis, t in enumerate(expansion.rates):
        x = np.sqrt((1 - t * t) / t) * u[:, axis]
        for row, k in enumerate(expansion.degrees[:, axis]):
            polynomial = np.polynomial.hermite.hermval(x, [0] * int(k) + [1])
            scale = (1 - t * t) ** 0.25 * np.sqrt((t / 2) ** int(k) / factorial(int(k)))
            phi[row] *= scale * polynomial * np.exp(-(1 - t) * u[:, axis] ** 2)
    return phi
