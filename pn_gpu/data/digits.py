"""The embedded data set: 1,797 handwritten digits of 8 x 8 pixels (source and licence in README.md)."""

from __future__ import annotations

from importlib import resources

import numpy as np

from pn_gpu.data.arrays import Array
from pn_gpu.data.dataset import Dataset
from pn_gpu.data.input_fitting import pixel_coding
from pn_gpu.data.prepare import Part, Wishes, prepare_parts
from pn_gpu.data.preprocessing import Preprocessing
from pn_gpu.data.target_coding import Classes

LARGEST = 16
"""Of a pixel."""

TEST_EVERY = 5
"""In the order of the file, every fifth image of a class is a test image."""


def load_digits(*, scale: str = "auto", preprocessing: Preprocessing | None = None) -> Dataset:
    """The optical recognition of handwritten digits data set of the UCI repository (Alpaydin and Kaynak).

    The split is stratified and has no random part: of each class, every fifth image in the order of the file
    is a test image.

    Parameters
    ----------
    scale, preprocessing
        As in `load_table`: by default pixels are divided by 16.

    Returns
    -------
    Dataset
        64 inputs in [0, 1], 10 classes, 1,442 training and 355 test images.
    """
    with (resources.files("pn_gpu.data") / "digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)  # uint8 [B, 8, 8] of 0..16; [B]
    test = _every_fifth_of_each_class(labels)
    if preprocessing is None and scale == "auto":
        preprocessing = Preprocessing(pixel_coding(64, LARGEST), Classes(tuple(range(10))))
    training, testing = (Part("digits: x", images[rows], "digits: y", labels[rows]) for rows in (~test, test))
    return prepare_parts("digits", training, testing, Wishes("classification", scale, preprocessing=preprocessing))


def _every_fifth_of_each_class(labels: Array) -> Array:
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return chosen
