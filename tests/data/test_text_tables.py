"""Tables in text files: how they are laid out, and what is said of mistakes in them."""

import gzip
import re

import numpy as np
import pytest

from pn_gpu.data import load, load_inputs, load_table

LINES = "".join(f"{i},{i / 2},{i % 3}\n" for i in range(10))


@pytest.fixture
def write_csv(tmp_path):
    def write(text, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        content = text.encode(encoding)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def raw(path, **options):
    """Inputs and outputs of both parts as they stand in the file, in the order of the first input."""
    data = load_table(path, scale="none", **options)
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    order = np.argsort(x[:, 0], kind="stable")
    return x[order], y[order]


def assert_is_lines(path, **options):
    x, y = raw(path, **options)
    np.testing.assert_array_equal(x, [[i, i / 2] for i in range(10)])
    np.testing.assert_array_equal(y, [i % 3 for i in range(10)])


def test_without_a_header(write_csv):
    data = load_table(write_csv(LINES), scale="none")
    assert (len(data.x_train), len(data.x_test)) == (8, 2)
    assert data.num_classes == 3
    assert data.image_shape is None
    assert data.name == "table"
    assert data.x_train.dtype == np.float32
    assert data.y_train.dtype == np.int64
    assert_is_lines(write_csv(LINES))


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n" + LINES,
        "a;b;c\n" + LINES.replace(",", ";"),
        LINES.replace(",", "|"),
        "a\tb\tc\n" + LINES.replace(",", "\t"),
        '"a","b","c"\r\n' + LINES.replace("\n", "\r\n"),
        "\n\na , b, c\n\n" + LINES + "\n\n",
        "\ufeffa,b,c\n" + LINES,
        '"a","b","two\nlines"\n' + LINES,
        '"a","b","c"\n' + re.sub(r"^(\d)", r'"\1"', LINES, flags=re.M),
        "a,b,c\n" + LINES.rstrip("\n"),
        "0,1,2\n" + LINES,
        ",a,b,c\n" + re.sub(r"^(\d)", r"9\1,\1", LINES, flags=re.M),
        "Unnamed: 0,a,b,c\n" + re.sub(r"^(\d)", r"9\1,\1", LINES, flags=re.M),
    ],
)
def test_ways_to_write_the_same_numbers(write_csv, text):
    assert_is_lines(write_csv(text))


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        ("größe;b;c\n" + LINES.replace(",", ";").replace(".", ","), "table.csv", "utf-8"),
        (LINES.replace(",", ";").replace(".", ","), "table.csv", "utf-8"),
        (LINES.replace(",", "\t").replace(".", ","), "table.tsv", "utf-8"),
        ("größe;b;c\n" + LINES.replace(",", ";").replace(".", ","), "table.csv.gz", "latin-1"),
        ("größe,b,c\n" + LINES, "table.csv", "utf-16"),
    ],
)
def test_ways_that_take_pandas(write_csv, text, name, encoding):
    pytest.importorskip("pandas")
    assert_is_lines(write_csv(text, name, encoding))


def test_plain_numbers_need_no_pandas(write_csv, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    for text, name in (("größe,b,c\n" + LINES, "a.csv"), (LINES, "a.csv.gz"), (LINES.replace(",", "\t"), "a.tsv")):
        assert_is_lines(write_csv(text, name))
    with pytest.raises(ImportError, match=r"line 2, column 1: got 'x'; want numbers alone, or pandas .*pn-gpu\[tables"):
        load_table(write_csv("1,2,0\nx,3,1\n"))
    with pytest.raises(ImportError, match="a decimal comma; want numbers alone"):
        load_table(write_csv("1;2,5;0\n2;3,5;1\n"))


@pytest.mark.parametrize("target", ["class", 0, -3, "0"])
def test_target_by_name_and_by_number(write_csv, target):
    lines = "".join(f"{i % 2},{i},{i}\n" for i in range(10))
    x, y = raw(write_csv("class,u,v\n" + lines), target=target)
    np.testing.assert_array_equal(x, [[i, i] for i in range(10)])
    np.testing.assert_array_equal(y, [i % 2 for i in range(10)])


def test_header_as_told(write_csv):
    path = write_csv("1,2,0\n" + LINES)
    assert len(raw(path)[0]) == 11
    np.testing.assert_array_equal(raw(path, header=True, target="2")[1][:, 0], [i / 2 for i in range(10)])
    path = write_csv("0,1,2\n" + LINES)
    assert "--no-header" in load_table(path).notes[0]
    assert len(raw(path, header=False)[0]) == 11


def test_a_first_line_of_words_may_be_a_sample(write_csv):
    pytest.importorskip("pandas")
    rows = "5.1,3.5,setosa\n4.9,3.0,virginica\n4.7,3.2,setosa\n4.6,3.1,virginica\n"
    data = load_table(write_csv(rows))
    assert len(data.x_train) + len(data.x_test) == 4
    assert "taken for a sample (--header" in data.notes[0]
    data = load_table(write_csv("country,2019,2020\nA,1,2.5\nB,2,3.5\nA,3,4.5\n"), drop=["country"])
    assert len(data.x_train) + len(data.x_test) == 3
    assert data.preprocessing.inputs.names == ("2019",)


def test_an_index_column_is_no_feature(write_csv):
    data = load_table(write_csv(",a,c\n" + "".join(f"{i},{i / 2},{i % 2}\n" for i in range(10))))
    assert data.preprocessing.inputs.names == ("a",)
    assert "first column has no name and is left out" in data.notes[0]


def test_columns_left_out(write_csv):
    path = write_csv("a,b,c\n" + LINES)
    np.testing.assert_array_equal(raw(path, drop=["b"])[0], np.arange(10)[:, None])
    np.testing.assert_array_equal(raw(path, drop=[0])[0], np.arange(10)[:, None] / 2)
    with pytest.raises(ValueError, match=r"drop: got 'z', want a column of .*: a, b, c"):
        load_table(path, drop=["z"])
    with pytest.raises(ValueError, match="drop: got all 3 columns"):
        load_table(path, drop=["a", "b", "c"])


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
        ("1,0\n2,-inf\n", "line 2, column 2: got -inf"),
        ("1,0\n2,1e999\n", "line 2, column 2: got inf"),
        ("1,3\n2,3\n", "got the label 3 alone, want at least two classes"),
        ("1,0\n", "got 1 sample, want at least 2"),
        ("\0\0\0", "not a text file"),
    ],
)
def test_mistakes_are_located(write_csv, text, message):
    with pytest.raises(ValueError) as caught:
        load_table(write_csv(text))
    assert message in str(caught.value)
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,0\n2,x,0\n3,4,1\n", "line 3, column 2 ('b'): got 'x', want a number as elsewhere in the column"),
        ("1,1,0\n2,1_0,1\n3,1,0\n", "line 2, column 2: got '1_0', want a number"),
        ("a,when,c\n1,2024-03-01,0\n2,2024-03-02,1\n", "line 2, column 2 ('when'): got '2024-03-01', a date or time"),
        ("a,when,c\n1,3.4.2024,0\n2,4.4.2024,1\n", "got '3.4.2024', a date or time"),
        ("a,when,c\n1,12:30,0\n2,12:45,1\n", "--drop when"),
    ],
)
def test_words_that_are_no_categories(write_csv, text, message):
    pytest.importorskip("pandas")
    with pytest.raises(ValueError) as caught:
        load_table(write_csv(text))
    assert message in str(caught.value)


def test_names_and_remarks_are_no_categories(write_csv):
    pytest.importorskip("pandas")
    path = write_csv("name,a,c\n" + "".join(f"person {i},{i},{i % 2}\n" for i in range(50)))
    with pytest.raises(ValueError, match=r"column 1 \('name'\): got 50 different words in 50 rows.*--drop name"):
        load_table(path)
    assert load_table(path, drop=["name"]).num_features == 1


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "noise.csv"
    path.write_bytes(np.random.default_rng(0).bytes(2000))
    with pytest.raises(ValueError, match=r"noise\.csv: not a text file"):
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
def test_a_target_that_does_not_exist(write_csv, target, error, message):
    with pytest.raises(error, match="target: " + message):
        load_table(write_csv("a,b,c\n" + LINES), target=target)


def test_a_target_name_that_is_not_unique(write_csv):
    with pytest.raises(ValueError, match="2 columns 'a', want a number"):
        load_table(write_csv("a,a,c\n" + LINES), target="a")


def test_split_follows_fraction_and_seed(write_csv):
    path = write_csv("".join(f"{i},{i % 2}\n" for i in range(50)))
    first, again = load_table(path, seed=3), load_table(path, seed=3)
    np.testing.assert_array_equal(first.x_test, again.x_test)
    assert not np.array_equal(first.x_test, load_table(path, seed=4).x_test)
    for fraction, count in ((0.1, 5), (0.5, 25), (0.001, 1), (0.999, 49)):
        assert len(load_table(path, test_fraction=fraction).x_test) == count
        np.testing.assert_array_equal(raw(path, test_fraction=fraction)[0][:, 0], np.arange(50))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"test_fraction": 0}, ValueError),
        ({"test_fraction": 1.0}, ValueError),
        ({"test_fraction": "half"}, TypeError),
        ({"seed": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
        ({"task": "clustering"}, ValueError),
        ({"scale": "minmax"}, ValueError),
        ({"missing": "guess"}, ValueError),
        ({"decimal": ";"}, ValueError),
    ],
)
def test_bad_options_are_named(write_csv, options, error):
    with pytest.raises(error, match=f"{next(iter(options))}: got"):
        load_table(write_csv(LINES), **options)


def test_inputs_without_targets(write_csv):
    np.testing.assert_array_equal(load_inputs(write_csv("a,b\n1,2\n3,4\n")), [[1, 2], [3, 4]])
    assert load(write_csv("a,b\n1,2\n3,4\n")).num_features == 1


def test_all_columns_that_cannot_be_used_are_told_of_at_once(write_csv):
    pytest.importorskip("pandas")
    lines = "".join(f"person {i},2024-03-{i % 28 + 1:02},{i},{'x' if i == 3 else i},{i % 2}\n" for i in range(50))
    path = write_csv("name,when,a,b,c\n" + lines)
    with pytest.raises(ValueError) as caught:
        load_table(path, target="c")
    message = str(caught.value)
    assert "column 1 ('name'): got 50 different words" in message
    assert "line 2, column 2 ('when'): got '2024-03-01', a date or time" in message
    assert "line 5, column 4 ('b'): got 'x', want a number" in message
    assert message.endswith("drop=['name', 'when', 'b'] (--drop name when b) leaves the columns out")
    assert load_table(path, target="c", drop=["name", "when", "b"]).num_features == 1
    many = ",".join(f"when{i}" for i in range(30)) + ",c\n" + ("2024-03-01," * 30 + "1\n") * 4
    with pytest.raises(ValueError, match="; and 20 columns more; drop="):
        load_table(write_csv(many))


def test_what_was_left_out_in_training_is_not_looked_at_in_prediction(write_csv):
    pytest.importorskip("pandas")
    text = "when,a,b,c\n" + "".join(f"2024-03-01,{i},{'uv'[i % 2]},{i % 2}\n" for i in range(20))
    preprocessing = load_table(write_csv(text), drop=["when"]).preprocessing
    assert load_inputs(write_csv(text), preprocessing=preprocessing).shape == (20, 3)
    assert len(load_table(write_csv(text), preprocessing=preprocessing).x_test) == 4
    wrong = "when,a,b,c\n2024-03-01,1,u,0\n2024-03-01,x,v,1\n2024-03-02,3,2024-03-01,1\n"
    with pytest.raises(ValueError) as caught:
        load_inputs(write_csv(wrong), preprocessing=preprocessing)
    assert "line 3, column 2 ('a'): got 'x', want a number as in training; line 4, column 3 ('b'): got" in str(
        caught.value
    )


def test_numerals_among_the_words_of_a_category(write_csv):
    """Mostly numerals in a few rows, which in training would be a slip of the pen."""
    pytest.importorskip("pandas")
    text = "kind,c\n" + "".join(f"{'ab1cd'[i % 5]},{i % 2}\n" for i in range(20))
    preprocessing = load_table(write_csv(text)).preprocessing
    x = load_inputs(write_csv("kind,c\n1,0\n1,1\na,0\n"), preprocessing=preprocessing)
    np.testing.assert_array_equal(x.argmax(axis=1), [0, 0, 1])
