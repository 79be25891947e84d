"""The user's own .npz and .csv files."""

import re

import numpy as np
import pytest

from pn_gpu.data import load, load_inputs, load_table


@pytest.fixture
def write_csv(tmp_path):
    def write(text, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


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


LINES = "".join(f"{i},{i / 2},{i % 3}\n" for i in range(10))


def test_csv_without_a_header(write_csv):
    data = load_table(write_csv(LINES))
    assert (len(data.x_train), len(data.x_test)) == (8, 2)
    assert data.num_classes == 3
    assert data.image_shape is None
    assert data.name == "table"
    x, y = _all_rows(data)
    np.testing.assert_array_equal(x, [[i, i / 2] for i in range(10)])
    np.testing.assert_array_equal(y, [i % 3 for i in range(10)])
    assert x.dtype == np.float32
    assert y.dtype == np.int64


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n" + LINES,
        "a;b;c\n" + LINES.replace(",", ";"),
        "a\tb\tc\n" + LINES.replace(",", "\t"),
        '"a","b","c"\r\n' + LINES.replace("\n", "\r\n"),
        "\n\na , b, c\n\n" + LINES + "\n\n",
        "\ufeffa,b,c\n" + LINES,
        '"a","b","two\nlines"\n' + LINES,
        '"a","b","c"\n' + re.sub(r"^(\d)", r'"\1"', LINES, flags=re.M),
        "a,b,c\n" + LINES.rstrip("\n"),
    ],
)
def test_ways_to_write_the_same_csv(write_csv, text):
    x, y = _all_rows(load_table(write_csv(text)))
    np.testing.assert_array_equal(x, [[i, i / 2] for i in range(10)])
    np.testing.assert_array_equal(y, [i % 3 for i in range(10)])


@pytest.mark.parametrize("target", ["class", 0, -3, "0"])
def test_csv_target_by_name_and_by_number(write_csv, target):
    lines = "".join(f"{i % 2},{i},{i}\n" for i in range(10))
    data = load_table(write_csv("class,u,v\n" + lines), target=target)
    x, y = _all_rows(data)
    np.testing.assert_array_equal(x, [[i, i] for i in range(10)])
    np.testing.assert_array_equal(y, [i % 2 for i in range(10)])


def test_csv_header_as_told(write_csv):
    path = write_csv("1,2,0\n" + LINES)
    assert sum(map(len, (load_table(path).x_train, load_table(path).x_test))) == 11
    data = load_table(path, header=True, target="2")
    np.testing.assert_array_equal(_all_rows(data)[1][:, 0], [i / 2 for i in range(10)])
    with pytest.raises(ValueError, match="line 1, column 1: got 'a', want a number"):
        load_table(write_csv("a,b,c\n" + LINES), header=False)


def test_regression_by_itself_and_as_asked(write_csv):
    data = load_table(write_csv("".join(f"{i},{i / 4}\n" for i in range(10))))
    assert data.num_classes is None
    assert data.num_outputs == 1
    x, y = _all_rows(data)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x / 4)
    data = load_table(write_csv(LINES), task="regression")
    assert data.y_train.shape == (8, 1)
    with pytest.raises(ValueError, match=r"got 0.25 in row 1 .*want labels"):
        load_table(write_csv("".join(f"{i},{i / 4}\n" for i in range(10))), task="classification")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("a,b\n", "no samples"),
        ("a,b\n\n", "no samples"),
        ("1\n2\n", "got one column"),
        ("1,2,0\n3,4\n5,6,1\n", "line 2: got 2 columns, want 3"),
        ("a,b,c\n\n1,2,0\n3,4,1,1\n", "line 4: got 4 columns, want 3"),
        ("a,b,c\n1,2\n3,4\n", "line 2: got 2 columns, want 3"),
        ("a,b,c\n1,2,0\n1,,0\n", "line 3, column 2 ('b'): got an empty cell, want a number"),
        ("1,2,0\n1,x,0\n", "line 2, column 2: got 'x', want a number"),
        ("a,kind\n1,0\n2,cat\n", "line 3, column 2 ('kind'): got 'cat', want a number (classes are numbered"),
        ("1,1\n2,1_0\n3,1\n", "line 2, column 2: got '1_0', want a number"),
        ("a,b\n1,0\n\nnan,1\n", "line 4, column 1 ('a'): got nan, want a finite number"),
        ("1,0\n2,-inf\n", "line 2, column 2: got -inf"),
        ("1,0\n2,1e999\n", "line 2, column 2: got inf"),
        ("1e300,0\n2,1\n", "1e+300, too large for float32"),
        ("1,1\n2,2\n3,1\n", "labels up to 2 without 0"),
        ("1,0\n2,2\n3,0\n", "labels up to 2 without 1"),
        ("1,0\n2,-1\n3,0\n", "got -1.0 in row 1"),
        ("1,3\n2,3\n", "got the label 3 alone, want at least two classes"),
        ("1,0\n", "got 1 sample, want at least 2"),
        ("\0\0\0", "want"),
    ],
)
def test_csv_mistakes_are_located(write_csv, text, message):
    with pytest.raises(ValueError) as caught:
        load_table(write_csv(text))
    assert message in str(caught.value)
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_csv_that_is_no_text(write_csv, tmp_path):
    with pytest.raises(ValueError, match="not a text file in UTF-8"):
        load_table(write_csv("größe,1\n", encoding="latin-1"))
    path = tmp_path / "noise.csv"
    path.write_bytes(np.random.default_rng(0).bytes(2000))
    with pytest.raises(ValueError, match=r"noise\.csv: "):
        load_table(path)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("d", ValueError, "got 'd', want a column of .*: a, b, c"),
        (3, ValueError, r"got column 3, want 0..2"),
        (-4, ValueError, r"got column -4"),
        (1.0, TypeError, r"got 1.0 \(float\), want the name or number of a column"),
        (True, TypeError, r"got True \(bool\), want the name or number of a column"),
    ],
)
def test_csv_target_that_does_not_exist(write_csv, target, error, message):
    with pytest.raises(error, match="target: " + message):
        load_table(write_csv("a,b,c\n" + LINES), target=target)


def test_csv_target_name_that_is_not_unique(write_csv):
    with pytest.raises(ValueError, match="2 columns 'a', want a number"):
        load_table(write_csv("a,a,c\n" + LINES), target="a")


def test_split_follows_fraction_and_seed(write_csv):
    path = write_csv("".join(f"{i},{i % 2}\n" for i in range(50)))
    first, again = load_table(path, seed=3), load_table(path, seed=3)
    np.testing.assert_array_equal(first.x_test, again.x_test)
    assert not np.array_equal(first.x_test, load_table(path, seed=4).x_test)
    for fraction, count in ((0.1, 5), (0.5, 25), (0.001, 1), (0.999, 49)):
        data = load_table(path, test_fraction=fraction)
        assert len(data.x_test) == count
        np.testing.assert_array_equal(_all_rows(data)[0][:, 0], np.arange(50))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"test_fraction": 0}, ValueError),
        ({"test_fraction": 1.0}, ValueError),
        ({"test_fraction": "half"}, TypeError),
        ({"seed": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
        ({"task": "clustering"}, ValueError),
    ],
)
def test_bad_options_are_named(write_csv, options, error):
    with pytest.raises(error, match=f"{next(iter(options))}: got"):
        load_table(write_csv(LINES), **options)


def test_npz_with_its_own_test_part(write_npz):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 5))
    y = np.arange(12) % 4
    data = load_table(write_npz(x_train=x[:8], y_train=y[:8], x_test=x[8:], y_test=y[8:]))
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
    data = load_table(write_npz(x=np.arange(6.0)[:, None], y=y))
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
        ({"x": X, "y": Y[:5]}, ValueError, r"y: got shape \(5,\), want 6 rows like x"),
        ({"x": X, "y": np.array(1)}, ValueError, r"y: got shape \(\)"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "at least one sample"),
        ({"x": X[:, :0], "y": Y}, ValueError, "at least one sample and one feature"),
        ({"x": X[:1], "y": Y[:1]}, ValueError, "got 1 sample, want at least 2"),
        ({"x": X[:, 0], "y": Y}, ValueError, "want .samples, features."),
        ({"x": X * 1j, "y": Y}, TypeError, "x: got dtype complex128"),
        ({"x": X.astype(str), "y": Y}, TypeError, "x: got dtype <U"),
        ({"x": X, "y": np.array(list("abcabc"))}, TypeError, r"y: got strings \(such as 'a'\)"),
        ({"x": np.where(X == 7, np.nan, X), "y": Y}, ValueError, "x: got nan in row 3, column 1"),
        ({"x": X, "y": np.where(Y == 1, np.inf, 0)}, ValueError, "y: got inf in row 1, column 0"),
        ({"x": X, "y": Y + 1}, ValueError, "labels up to 2 without 0"),
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
        with pytest.raises(ValueError, match=r"damaged\.npz: not a .npz file, or one cut short"):
            load_table(path)
    path.write_bytes(content.replace(X.tobytes(), X.tobytes()[::-1]))
    with pytest.raises(ValueError, match=r"damaged\.npz: x: damaged \(Bad CRC"):
        load_table(path)


def test_npz_has_no_columns(write_npz):
    with pytest.raises(ValueError, match=r"target: got 'a' for .*, want it for a .csv file only"):
        load_table(write_npz(x=X, y=Y), target="a")


def test_no_such_file_or_type(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
        load_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="got a folder"):
        load_table(tmp_path)
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"type \.xlsx, want \.npz or \.csv"):
        load_table(tmp_path / "a.xlsx")


def test_inputs_without_targets(tmp_path, write_csv, write_npz):
    np.testing.assert_array_equal(load_inputs(write_csv("a,b\n1,2\n3,4\n")), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(load_inputs(write_npz(x=X)), X)
    np.testing.assert_array_equal(load_inputs(write_npz(x_test=X, y_test=Y)), X)
    np.save(tmp_path / "a.npy", np.full((2, 2, 3), 255, np.uint8))
    np.testing.assert_array_equal(load_inputs(tmp_path / "a.npy"), np.ones((2, 6)))
    np.save(tmp_path / "b.npy", np.array([None]))
    with pytest.raises(ValueError, match=r"b\.npy: not a .npy file of numbers"):
        load_inputs(tmp_path / "b.npy")
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"c\.npy: not a .npy file of numbers, or one cut short"):
        load_inputs(tmp_path / "c.npy")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_inputs(tmp_path / "d.npy")
