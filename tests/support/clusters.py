"""Three clusters in four dimensions, and networks that learn them."""

import numpy as np

import pn_gpu as pn

RNG = np.random.default_rng(2)
CENTRES = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0]])
LABELS = RNG.integers(0, 3, 240)
X = (CENTRES[LABELS] + 0.4 * RNG.standard_normal((240, 4))).astype(np.float32)


def make(**options):
    return pn.ParticleNetwork([4, 8, 3], **({"seed": 0, "backend": "numpy"} | options))


def fit(network, **options):
    return network.fit(X, LABELS, **({"epochs": 6, "batch_size": 32, "seed": 1} | options))
