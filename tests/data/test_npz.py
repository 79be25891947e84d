"""Arrays of the user in .npz and .npy files."""

import numpy as np
import pytest

from pn_gpu.data import load, load_inputs, load_table


@pytest.fixture
def write_npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "table.npz"
        np.savez(path, **arrays)
        return path

    return write


def _all_rows(data):
    """Inputs and outputs of both parts, in the order of the first input."""
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    order = np.argsort(x[:, 0])
    return x[order], y[order]


def test_npz_with_its_own_test_part(write_npz):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 5))
    y = np.arange(12) % 4
    data = load_table(write_npz(x_train=x[:8], y_train=y[:8], x_test=x[8:], y_test=y[8:]), scale="none")
    np.testing.assert_array_equal(data.x_train, x[:8].astype(np.float32))
    np.testing.assert_array_equal(data.y_test, y[8:])
    assert data.num_classes == 4


def test_npz_of_pixels(write_npz):
    x = np.random.default_rng(0).integers(0, 256, (10, 3, 4), dtype=np.uint8)
    data = load(write_npz(x=x, y=np.arange(10) % 2), test_fraction=0.3, seed=1)
    assert data.image_shape == (3, 4)
    assert len(data.x_test) == 3
    wanted = np.sort(x.reshape(10, 12) / 255, axis=0)
    np.testing.assert_allclose(np.sort(np.concatenate([data.x_train, data.x_test]), axis=0), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "num_classes", "want"),
    [
        (np.arange(6) % 3, 3, np.arange(6) % 3),
        ((np.arange(6) % 3).astype(float)[:, None], 3, np.arange(6) % 3),
        (np.eye(3)[np.arange(6) % 3], 3, np.arange(6) % 3),
        (np.arange(6) % 2 == 1, 2, np.arange(6) % 2),
        (np.arange(6) / 2, None, np.arange(6)[:, None] / 2),
        (np.arange(12).reshape(6, 2), None, np.arange(12).reshape(6, 2)),
    ],
)
def test_npz_kinds_of_outputs(write_npz, y, num_classes, want):
    data = load_table(write_npz(x=np.arange(6.0)[:, None], y=y), scale="none")
    assert data.num_classes == num_classes
    np.testing.assert_array_equal(_all_rows(data)[1], want)


X, Y = np.arange(12.0).reshape(6, 2), np.arange(6) % 2


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (
            {"a": X, "b": Y},
            ValueError,
            r"got the arrays a, b, want \(x_train, y_train, x_test, y_test\) or \(x, y\)",
        ),
        ({"x_train": X, "y_train": Y}, ValueError, "got the arrays x_train, y_train, want"),
        ({"x": X, "y": Y[:5]}, ValueError, r"y: got shape \(5,\), want 6 rows like .*x"),
        ({"x": X, "y": np.array(1)}, ValueError, r"y: got shape \(\)"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "y: got shape .0,., want .* not empty"),
        ({"x": X[:, :0], "y": Y}, ValueError, "at least one sample and one feature"),
        ({"x": X[:1], "y": Y[:1]}, ValueError, "got 1 sample, want at least 2"),
        ({"x": X[:, 0], "y": Y}, ValueError, "want .samples, features."),
        ({"x": X * 1j, "y": Y}, TypeError, "x: got dtype complex128"),
        ({"x": X.astype(str), "y": Y}, TypeError, "x: got dtype <U"),
        ({"x": np.where(X == 7, np.inf, X), "y": Y}, ValueError, "x: got inf in row 3, column 1"),
        ({"x": X, "y": np.where(Y == 1, np.inf, 0)}, ValueError, "y: got an infinite value in row 1"),
        ({"x": X, "y": np.zeros((6, 2, 2))}, ValueError, r"y: got shape \(6, 2, 2\)"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y},
            ValueError,
            r"x_test: got samples of shape \(1,\), want \(2,\)",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": np.eye(2)[Y]},
            ValueError,
            r"y_test: got shape \(6, 2\), want the columns of",
        ),
    ],
)
def test_npz_mistakes_are_named(write_npz, arrays, error, message):
    with pytest.raises(error, match=message) as caught:
        load_table(write_npz(**arrays))
    assert "table.npz" in str(caught.value)


def test_labels_that_only_the_test_part_has_count(write_npz):
    assert load_table(write_npz(x_train=X, y_train=Y, x_test=X, y_test=Y + 2)).num_classes == 4


def test_npz_is_never_unpickled(tmp_path, write_npz):
    path = write_npz(x=np.array([[1], [None]], dtype=object), y=np.arange(2))
    with pytest.raises(ValueError, match=r"x: it holds Python objects, want numbers"):
        load_table(path)


def test_damaged_npz(tmp_path, write_npz):
    content = write_npz(x=X, y=Y).read_bytes()
    path = tmp_path / "damaged.npz"
    for damaged in (b"", b"no zip", content[:-30], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged\.npz: truncated or damaged \.npz file"):
            load_table(path)
    path.write_bytes(content.replace(X.tobytes(), X.tobytes()[::-1]))
    with pytest.raises(ValueError, match=r"damaged\.npz: x: truncated or damaged .*Bad CRC"):
        load_table(path)


def test_npz_has_no_columns(write_npz):
    with pytest.raises(ValueError, match=r"target: got 'a' for .*, want it for a table only"):
        load_table(write_npz(x=X, y=Y), target="a")


def test_no_such_file_or_type(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
        load_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="got a folder"):
        load_table(tmp_path)
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"type \.xlsx, want \.csv, \.tsv"):
        load_table(tmp_path / "a.xlsx")


def test_inputs_without_targets(tmp_path, write_npz):
    np.testing.assert_array_equal(load_inputs(write_npz(x=X)), X)
    np.testing.assert_array_equal(load_inputs(write_npz(x_test=X, y_test=Y)), X)
    np.save(tmp_path / "a.npy", np.full((2, 2, 3), 255, np.uint8))
    np.testing.assert_array_equal(load_inputs(tmp_path / "a.npy"), np.ones((2, 6)))
    np.save(tmp_path / "b.npy", np.array([None]))
    with pytest.raises(ValueError, match=r"b\.npy: it holds Python objects, want numbers"):
        load_inputs(tmp_path / "b.npy")
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"c\.npy: truncated or damaged \.npy file"):
        load_inputs(tmp_path / "c.npy")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_inputs(tmp_path / "d.npy")
    with pytest.raises(ValueError, match=r"a\.npy: got one array, want a table, or a \.npz file"):
        load_table(tmp_path / "a.npy")


def test_a_header_cannot_ask_for_memory(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match="want more than 8000000000000 for shape"):
        load_inputs(tmp_path / "a.npy")


def test_labels_in_words(write_npz):
    data = load_table(write_npz(x=X, y=np.array(list("abcabc"))))
    assert data.preprocessing.targets.labels == ("a", "b", "c")
    np.testing.assert_array_equal(data.preprocessing.targets.decode(np.array([2, 0])), ["c", "a"])
