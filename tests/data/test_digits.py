"""The embedded digits."""

import hashlib

import numpy as np

from pn_gpu.data import load, load_digits


def test_shapes_types_and_range():
    digits = load_digits()
    assert digits.x_train.shape == (1442, 64)
    assert digits.x_test.shape == (355, 64)
    assert digits.x_train.dtype == digits.x_test.dtype == np.float32
    assert digits.y_train.dtype == digits.y_test.dtype == np.int64
    assert (digits.num_classes, digits.num_features, digits.num_outputs) == (10, 64, 10)
    assert digits.image_shape == (8, 8)
    assert digits.x_train.min() == 0
    assert digits.x_train.max() == 1


def test_the_numbers_are_those_of_the_source():
    # The md5 of the 1,797 lines "64 pixels, label" of the source, sorted, as unsigned bytes.
    digits = load_digits()
    x = np.concatenate([digits.x_train, digits.x_test])
    y = np.concatenate([digits.y_train, digits.y_test])
    rows = np.column_stack([x * 16, y]).astype(np.uint8)
    rows = rows[np.lexsort(rows.T[::-1])]
    assert hashlib.md5(rows.tobytes(), usedforsecurity=False).hexdigest() == "66802258c3ee10533238ecfdb842f57d"


def test_split_is_stratified_and_repeats():
    digits = load("digits")
    train, test = np.bincount(digits.y_train), np.bincount(digits.y_test)
    np.testing.assert_array_equal(test, (train + test) // 5)
    again = load_digits()
    np.testing.assert_array_equal(again.x_test, digits.x_test)
    np.testing.assert_array_equal(again.y_train, digits.y_train)


def test_neighbours_tell_the_digit():
    # A shuffled label or row would end this: the nearest neighbour is right for 98.6 % of the test images.
    digits = load_digits()
    closeness = 2 * digits.x_test @ digits.x_train.T - (digits.x_train**2).sum(axis=1)  # [355, 1442]
    assert (digits.y_train[closeness.argmax(axis=1)] == digits.y_test).mean() > 0.97
