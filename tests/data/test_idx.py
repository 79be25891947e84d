"""IDX files and folders of them."""

import gzip
import re

import numpy as np
import pytest

from pn_gpu.data import load, load_idx, read_idx
from support.idx_files import CODES, idx_bytes, write_idx, write_mnist_like


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_type_comes_back(tmp_path, dtype, suffix):
    rng = np.random.default_rng(0)
    array = (rng.standard_normal((3, 5, 2)) * 100).astype(dtype)
    array.flat[:2] = (np.iinfo if array.dtype.kind in "iu" else np.finfo)(dtype).max, 0
    got = read_idx(write_idx(tmp_path / f"a.idx{suffix}", array))
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, array)


def test_bytes_as_the_format_describes_them(tmp_path):
    content = bytes([0, 0, 0x0B, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0x01, 0x02, 0xFF, 0xFE])
    (tmp_path / "a").write_bytes(content)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), [[258, -2]])


def test_no_dimension_is_one_number_and_a_size_of_zero_is_none(tmp_path):
    assert read_idx(write_idx(tmp_path / "scalar", np.array(7, np.int32))) == 7
    assert read_idx(write_idx(tmp_path / "empty", np.zeros((0, 4), np.uint8))).shape == (0, 4)


def test_gzip_is_told_by_content_not_by_name(tmp_path):
    array = np.arange(6, dtype=np.uint8)
    (tmp_path / "plain.gz").write_bytes(idx_bytes(array))
    (tmp_path / "packed").write_bytes(gzip.compress(idx_bytes(array)))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz"), array)
    np.testing.assert_array_equal(read_idx(tmp_path / "packed"), array)


GOOD = idx_bytes(np.arange(1000, dtype=np.int32).reshape(10, 100))
PACKED = gzip.compress(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "want an IDX file"),
        (b"\0\0\x08", "want an IDX file"),
        (b"PK\x03\x04" + GOOD, "got the first bytes 50 4b 03 04, want an IDX file"),
        (b"\0\0\x0a\x01" + GOOD[4:], "want an IDX file"),
        (GOOD[:9], "got 9 bytes, want 12 for the header of 2 dimensions"),
        (GOOD[:-1], "got 3999 bytes of them, want 4000 bytes of numbers for shape (10, 100) of int32"),
        (GOOD + b"\0", "got more, want 4000 bytes of numbers"),
        (b"\0\0\x0e\x04" + b"\xff" * 16 + GOOD, "of float64"),
        (PACKED[:-3], "truncated or damaged"),
        (PACKED[:200], "truncated or damaged"),
        (PACKED[:100] + b"\xff" * 50 + PACKED[150:], "truncated or damaged"),
        (PACKED[:-8] + b"\0" * 8, "truncated or damaged"),
        (PACKED[:2], "truncated or damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    path = tmp_path / "damaged-idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged-idx: .*" + re.escape(message)):
        read_idx(path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        read_idx(tmp_path / "nothing-here")
    with pytest.raises(ValueError, match="got a folder, want a file"):
        read_idx(tmp_path)


@pytest.mark.parametrize(("suffix", "separator"), [("", "-"), (".gz", "-"), ("", "."), (".gz", ".")])
def test_folder(tmp_path, suffix, separator):
    arrays = write_mnist_like(tmp_path / "some-digits", suffix, separator)
    data = load_idx(tmp_path / "some-digits")
    assert data.name == "some-digits"
    assert data.image_shape == (4, 4)
    assert data.num_classes == 10
    assert data.x_train.dtype == np.float32
    assert data.y_test.dtype == np.int64
    pixels = arrays["train-images-idx3-ubyte"].reshape(30, 16)
    np.testing.assert_allclose(data.x_train, pixels / 255, rtol=1e-6)
    np.testing.assert_array_equal(data.y_test, arrays["t10k-labels-idx1-ubyte"])
    assert data.x_test.shape == (10, 16)
    np.testing.assert_array_equal(load(tmp_path / "some-digits").x_test, data.x_test)


def test_names_with_a_prefix_and_the_word_test(tmp_path):
    write_mnist_like(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        path.rename(tmp_path / f"emnist-digits-{path.name.replace('t10k', 'test')}")
    assert load_idx(tmp_path).x_test.shape == (10, 16)


def test_plain_is_preferred_to_its_gzipped_twin(tmp_path):
    write_mnist_like(tmp_path, ".gz")
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.full(30, 3, np.uint8))
    assert set(load_idx(tmp_path).y_train) == {3}


def test_two_data_sets_in_one_folder(tmp_path):
    write_mnist_like(tmp_path)
    write_idx(tmp_path / "kmnist-train-labels-idx1-ubyte", np.zeros(30, np.uint8))
    with pytest.raises(ValueError, match=r"got both kmnist-train-labels-idx1-ubyte and train-labels-idx1-ubyte\.gz"):
        load_idx(tmp_path)


def test_numbers_that_are_no_pixels_are_standardised(tmp_path):
    write_mnist_like(tmp_path, "")
    images = np.random.default_rng(1).standard_normal((30, 5)).astype(np.float64)
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images[:10])
    data = load_idx(tmp_path)
    np.testing.assert_allclose(data.x_train.mean(axis=0), 0, atol=1e-6)  # of numbers of order 1 in float32
    np.testing.assert_array_equal(load_idx(tmp_path, scale="none").x_train, images.astype(np.float32))
    assert data.image_shape is None


def test_a_folder_without_idx_files(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match="no IDX files, want train-images-idx3-ubyte"):
        load_idx(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_idx(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"notes\.txt: got a file, want a folder"):
        load_idx(tmp_path / "notes.txt")


def test_a_missing_file_is_named(tmp_path):
    write_mnist_like(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="no IDX file with the test labels, want"):
        load_idx(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "train-labels-idx1-ubyte",
            np.zeros(29, np.uint8),
            r"got shape \(29,\), want 30 rows like .*train-images",
        ),
        ("train-labels-idx1-ubyte", np.arange(30, dtype=np.int32) * 70_000_000, "got 39 different labels in 40 rows"),
        ("train-labels-idx1-ubyte", np.full(30, 0.5, np.float32), r"got 0\.5 in row 0"),
        ("train-labels-idx1-ubyte", np.zeros((30, 2), np.uint8), "want the columns of"),
        ("train-labels-idx1-ubyte", np.array(3, np.uint8), r"got shape \(\)"),
        (
            "t10k-images-idx3-ubyte",
            np.zeros((10, 5, 5), np.uint8),
            r"samples of shape \(5, 5\), want \(4, 4\)",
        ),
        ("t10k-images-idx3-ubyte", np.zeros(10, np.uint8), r"samples of shape \(\), want \(4, 4\)"),
        ("t10k-images-idx3-ubyte", np.zeros((0, 4, 4), np.uint8), "want 0 rows"),
        ("t10k-images-idx3-ubyte", np.full((10, 4, 4), np.inf, np.float32), "got inf in row 0, column 0"),
    ],
)
def test_files_that_do_not_fit_each_other(tmp_path, name, array, message):
    write_mnist_like(tmp_path, "")
    write_idx(tmp_path / name, array)
    with pytest.raises(ValueError, match=message):
        load_idx(tmp_path)


def test_no_images_at_all(tmp_path):
    write_mnist_like(tmp_path, "")
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((0, 4, 4), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(0, np.uint8))
    with pytest.raises(ValueError, match="not empty"):
        load_idx(tmp_path)


def test_classes_are_the_labels_that_are_there(tmp_path):
    """One huge label is a class, not a count of classes."""
    write_mnist_like(tmp_path, "")
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.where(np.arange(30) % 2, 67_000_000, 3).astype(np.int32))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.full(10, 3, np.int32))
    data = load_idx(tmp_path)
    assert data.preprocessing.targets.labels == (3, 67_000_000)
    assert set(data.y_train) == {0, 1}


def test_a_small_gzip_file_cannot_ask_for_memory(tmp_path):
    """A header of one byte before 16 MB of zeros: no more than two pieces are unpacked."""
    (tmp_path / "bomb").write_bytes(gzip.compress(idx_bytes(np.zeros(1, np.uint8)) + bytes(2**24)))
    with pytest.raises(ValueError, match="got more, want 1 bytes of numbers"):
        read_idx(tmp_path / "bomb")
