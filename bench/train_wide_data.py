"""Batches of train_wide: the same for both networks."""

from __future__ import annotations

import numpy as np

BATCH_SIZE = 100


def shuffled_batches(num_examples: int, *seed: int) -> list[np.ndarray]:
    """Rows of every batch of an epoch."""
    order = np.random.default_rng(seed).permutation(num_examples)
    return [order[start : start + BATCH_SIZE] for start in range(0, num_examples, BATCH_SIZE)]
