"""Layers of many particles, in clouds of every shape, and costs to plan them by."""

from __future__ import annotations

import numpy as np

import pn_gpu as pn
from support import oracle

# Direct is dear and features are cheap, or the other way round.
# Steps long enough for a search to pay at once.
FAVOUR_MEHLER = pn.Costs(0, 1e-6, 1e-7, 0, 1e-8, 1e-10)
BALANCED = pn.Costs(0, 1e-6, 1e-8, 0, 1e-7, 1e-8)
FAVOUR_DIRECT = pn.Costs(0, 1e-12, 1e-13, 0, 1e-8, 1e-9)

KINDS = ["normal", "wide", "clusters", "stray", "shifted", "anisotropic", "flat", "coincident", "heavy", "uniform"]


def cloud(kind: str, count: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Positions [count, dim] of one of `KINDS`."""
    normal = 0.5 * rng.standard_normal((count, dim))
    if kind == "wide":
        return 2 * normal
    if kind == "clusters":
        return np.sign(normal) + 0.2 * normal
    if kind == "stray":
        normal[:3] = [[100.0] * dim, [-30.0] * dim, [5.0] * dim]
        return normal
    if kind == "shifted":
        return normal + 1000.0
    if kind == "anisotropic":
        turn = np.linalg.qr(np.random.default_rng(7).standard_normal((dim, dim)))[0]
        return (normal * np.linspace(0.2, 2, dim)) @ turn
    if kind == "flat":
        normal[:, 0] = 0.3
        return normal
    if kind == "coincident":
        return np.full((count, dim), 0.7)
    if kind == "heavy":
        return 0.3 * rng.standard_t(3, (count, dim))
    if kind == "uniform":
        return rng.uniform(-1, 1, (count, dim))
    return normal


def make_case(
    kind: str, dim: int, b: int = 4, n_in: int = 1500, n_out: int = 1200, d: int | None = None, seed: int = 11
) -> oracle.Case:
    """Arguments of the operator whose inputs and outputs each lie in such a cloud."""
    rng = np.random.default_rng(seed)
    case = oracle.random_case(b, n_in, n_out, dim, d, seed=seed + 1)
    return case._replace(r_in=cloud(kind, n_in, dim, rng), r_out=cloud(kind, n_out, dim, rng))
