"""The embedded data set: 1,797 handwritten digits of 8 x 8 pixels (source and licence in README.md)."""

from __future__ import annotations

from importlib import resources

import numpy as np

from pn_gpu.data.arrays import Array
from pn_gpu.data.dataset import Dataset

TEST_EVERY = 5
"""In the order of the file, every fifth image of a class is a test image."""


def load_digits() -> Dataset:
    """The optical recognition of handwritten digits data set of the UCI repository (Alpaydin and Kaynak).

    The split is stratified and has no random part: of each class, every fifth image in the order of the file
    is a test image.

    Returns
    -------
    Dataset
        64 inputs in [0, 1], 10 classes, 1,442 training and 355 test images.
    """
    with (resources.files("pn_gpu.data") / "digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)  # uint8 [B, 8, 8] of 0..16; [B]
    x = images.reshape(len(images), -1).astype(np.float32) / 16
    test = _every_fifth_of_each_class(labels)
    return Dataset("digits", x[~test], labels[~test], x[test], labels[test], num_classes=10, image_shape=(8, 8))


def _every_fifth_of_each_class(labels: Array) -> Array:
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return chosen
