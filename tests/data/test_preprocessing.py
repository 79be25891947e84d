"""What is done to data before a network sees them, and that the same is done again in any container."""

import json

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.data import Preprocessing, load_inputs, load_table, predict
from pn_gpu.data.input_fitting import fit_inputs, pixel_coding
from pn_gpu.data.scores import regression_scores
from pn_gpu.data.target_coding import Classes, Numbers, fit_targets
from support.idx_files import write_idx


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write_table(path, rows, header="a,b,c"):
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.17g")
    return path


def test_a_table_is_standardised_by_its_training_part(tmp_path, rng):
    rows = rng.standard_normal((50, 3)) * [1e3, 1e-3, 7] + [5e3, 0, -2]
    data = load_table(write_table(tmp_path / "t.csv", rows))
    # float32 numbers of order 1, from sums of 40
    np.testing.assert_allclose(data.x_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.x_train.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(data.y_train.mean(), 0, atol=1e-6)
    assert abs(data.x_test.mean(axis=0)).min() > 1e-4
    back = data.preprocessing.targets.decode(np.concatenate([data.y_train, data.y_test]))
    np.testing.assert_allclose(np.sort(back[:, 0]), np.sort(rows[:, 2]), rtol=1e-6)
    plain = load_table(tmp_path / "t.csv", scale="none")
    np.testing.assert_array_equal(plain.x_train.dtype, np.float32)
    np.testing.assert_allclose(
        plain.x_test * 1.0, data.x_test * data.preprocessing.inputs.scale + data.preprocessing.inputs.offset, rtol=1e-5
    )


def test_a_constant_column_and_large_numbers_stay_finite(tmp_path):
    rows = [[i, 3.3, 1e300 * (-1) ** i, 1e39 * i, i % 2] for i in range(20)]
    data = load_table(write_table(tmp_path / "t.csv", rows, "a,b,c,d,e"))
    np.testing.assert_array_equal(data.x_train[:, 1], 0)
    np.testing.assert_allclose(np.abs(data.x_train[:, 2]), 1, rtol=0.2)
    assert np.isfinite(data.x_train).all()
    with pytest.raises(ValueError, match=r"t\.csv: got .*, too large for float32"):
        load_table(tmp_path / "t.csv", scale="none")


def test_the_same_numbers_in_any_container_are_the_same_inputs(tmp_path, rng):
    pixels = rng.integers(0, 256, (30, 12), dtype=np.uint8)
    np.savez(tmp_path / "train.npz", x=pixels.reshape(30, 3, 4), y=np.arange(30) % 3)
    data = load_table(tmp_path / "train.npz")
    assert data.image_shape == (3, 4)
    coding = Preprocessing.from_json(json.loads(json.dumps(data.preprocessing.to_json())))
    want = pixels.astype(np.float32) / 255
    np.testing.assert_array_equal(np.sort(np.concatenate([data.x_train, data.x_test]), axis=0), np.sort(want, axis=0))
    np.savez(tmp_path / "x.npz", x=pixels)
    np.save(tmp_path / "bytes.npy", pixels)
    np.save(tmp_path / "floats.npy", pixels.astype(np.float64))
    np.save(tmp_path / "whole.npy", pixels.astype(np.int32).reshape(30, 4, 3))
    np.save(tmp_path / "divided.npy", want)
    np.savetxt(tmp_path / "x.csv", pixels, delimiter=",", fmt="%d")
    np.savetxt(tmp_path / "x.tsv.gz", pixels, delimiter="\t")
    write_idx(tmp_path / "x-idx", pixels)
    write_idx(tmp_path / "x-idx.gz", pixels.astype(np.float32))
    for path in tmp_path.iterdir():
        if path.name != "train.npz":
            np.testing.assert_array_equal(load_inputs(path, preprocessing=coding), want, err_msg=path.name)
    # A network of which nothing is known: bytes are pixels, the rest is as it is.
    np.testing.assert_array_equal(load_inputs(tmp_path / "bytes.npy"), want)
    np.testing.assert_array_equal(load_inputs(tmp_path / "floats.npy"), pixels)


def test_words_become_columns_and_are_found_by_name(tmp_path):
    pytest.importorskip("pandas")
    (tmp_path / "t.csv").write_text(
        "n,pet,kind\n" + "".join(f"{i},{['cat', 'dog', 'newt'][i % 3]},{i % 2}\n" for i in range(12))
    )
    data = load_table(tmp_path / "t.csv")
    coding = Preprocessing.from_json(json.loads(json.dumps(data.preprocessing.to_json())))
    assert data.num_features == 4
    (tmp_path / "new.csv").write_text("pet,other,n\ndog,7,0\n,7,1\n")
    x = load_inputs(tmp_path / "new.csv", preprocessing=coding)
    np.testing.assert_array_equal(x[:, 1:], [[0, 1, 0], [0, 0, 0]])
    (tmp_path / "new.csv").write_text("pet,n\ndog,0\nhorse,1\n")
    with pytest.raises(ValueError, match=r"line 3, column 1 \('pet'\): got 'horse', want one .*: cat, dog, newt"):
        load_inputs(tmp_path / "new.csv", preprocessing=coding)
    (tmp_path / "new.csv").write_text("pets,n\ndog,0\n")
    with pytest.raises(ValueError, match="no column 'pet', want the columns of the training: n, pet"):
        load_inputs(tmp_path / "new.csv", preprocessing=coding)
    np.save(tmp_path / "new.npy", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="want a table: column 2 holds words such as 'cat'"):
        load_inputs(tmp_path / "new.npy", preprocessing=coding)


def test_missing_values(tmp_path):
    pytest.importorskip("pandas")
    lines = [f"{i},{'NA' if i % 5 == 0 else i},{'' if i % 7 == 0 else 'xy'[i % 2]},{i % 2}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d", *lines]))
    data = load_table(tmp_path / "t.csv")
    assert any("14 missing values" in note for note in data.notes)
    np.testing.assert_array_equal(data.x_test[data.x_test[:, 2:].sum(axis=1) == 0].shape[1], 4)
    b = np.concatenate([data.x_train, data.x_test])[:, 1]
    assert (b == 0).sum() == 8
    dropped = load_table(tmp_path / "t.csv", missing="drop")
    assert len(dropped.x_train) + len(dropped.x_test) == 40 - len({i for i in range(40) if i % 5 == 0 or i % 7 == 0})
    with pytest.raises(
        ValueError, match=r"got 14 missing values \(NaN\), want none; missing='mean' \(--missing mean\)"
    ):
        load_table(tmp_path / "t.csv", missing="refuse")
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d", *lines, "40,1,x,"]))
    assert "1 rows without a target are left out" in load_table(tmp_path / "t.csv").notes


def test_missing_values_in_arrays_are_as_in_tables(tmp_path, rng):
    x = rng.standard_normal((20, 2))
    x[3, 1] = np.nan
    np.savez(tmp_path / "t.npz", x=x, y=np.arange(20) % 2)
    data = load_table(tmp_path / "t.npz")
    assert "1 missing values" in data.notes[0]
    assert (np.concatenate([data.x_train, data.x_test]) == 0).sum() == 1


@pytest.mark.parametrize(
    ("y", "want"),
    [
        (np.arange(60) % 6, "6 classes: 0, 1, 2, 3, 4, 5 (--task regression"),
        (np.arange(60) % 3 + 3, "3 classes: 3, 4, 5 (--task regression"),
        (np.where(np.arange(60) % 2, 4, 2), "2 classes: 2, 4 (--task"),
        (np.arange(300) % 26, "26 classes: 0, 1, 2, 3, 4, 5, ... 25"),
        (np.arange(60) * 250, "numbers, 0 to 14750 (--task classification"),
        (np.arange(300) % 26 + 1.0, "numbers, 1 to 26 (--task classification"),
        (np.arange(60) / 7, "numbers, 0 to 8.42857"),
        (np.array(["no", "yes"] * 30, dtype=object), "2 classes: no, yes"),
        (np.arange(120.0).reshape(60, 2), "numbers, 2 columns"),
        (np.eye(4)[np.arange(60) % 4], "4 classes: 0, 1, 2, 3"),
        (np.arange(60) % 2 == 1, "2 classes: 0, 1"),
    ],
)
def test_classes_or_numbers_is_said_aloud(y, want):
    coding, sentence = fit_targets("y", y, slice(None))
    assert sentence.startswith(want)
    assert isinstance(coding, Classes if "classes" in want.split("(")[0] else Numbers)
    if isinstance(coding, Classes) and y.ndim == 1:
        np.testing.assert_array_equal(coding.decode(coding.encode("y", y)), y)


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        (np.array(["a", "b"] * 5, dtype=object), "regression", "y: got 'a', want numbers for task='regression'"),
        (np.arange(10) / 4, "classification", "y: got 0.25 in row 1 .*want whole numbers or words"),
        (np.arange(10), "classification", "y: got 10 different labels in 10 rows"),
        (np.arange(20.0).reshape(10, 2), "classification", r"y: got shape \(10, 2\), want labels"),
    ],
)
def test_targets_that_do_not_suit_the_task(y, task, message):
    with pytest.raises(ValueError, match=message):
        fit_targets("y", y, slice(None), task)


def test_unknown_labels_are_named():
    with pytest.raises(ValueError, match="y: got the label 7, want one of 0, 1"):
        Classes((0, 1)).encode("y", np.array([0, 7]))


def test_scores_are_those_of_the_formula(rng):
    y, error = rng.standard_normal((100, 1)) * 3 + 5, rng.standard_normal((100, 1))
    targets = Numbers(np.array([5.0]), np.array([3.0]))
    scores = regression_scores(targets, targets.encode("y", y), targets.encode("y", y + error))
    assert scores.r2 == pytest.approx(1 - (error**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-5)
    assert scores.rmse[0] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert scores.constant_rmse[0] == pytest.approx(y.std(), rel=1e-5)


GOOD = Preprocessing(pixel_coding(3), Classes((0, 1))).to_json()


@pytest.mark.parametrize(
    "damage",
    [
        {"inputs": None},
        {"inputs": {}},
        {"inputs": GOOD["inputs"] | {"width": 10**12, "offset": [1, 2]}},
        {"inputs": GOOD["inputs"] | {"scale": 0}},
        {"inputs": GOOD["inputs"] | {"mean": "NaN"}},
        {"inputs": GOOD["inputs"] | {"names": ["a"]}},
        {"inputs": GOOD["inputs"] | {"categories": {"7": ["a"]}}},
        {"inputs": GOOD["inputs"] | {"categories": 5}},
        {"inputs": GOOD["inputs"] | {"missing": "guess"}},
        {"targets": []},
        {"targets": {"labels": [None]}},
        {"targets": {"offset": [1], "scale": [1, 2]}},
        {"target_column": {}},
    ],
)
def test_damaged_data_are_refused(damage):
    with pytest.raises(ValueError, match="the preprocessing in it cannot be read"):
        Preprocessing.from_json(GOOD | damage)
    assert Preprocessing.from_json(GOOD).inputs.num_features == 3


def test_parquet_and_csv_are_the_same(tmp_path, rng):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": rng.standard_normal(20), "b": list("uvuvw") * 4, "c": [True, False] * 10})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    parquet, text = load_table(tmp_path / "t.parquet"), load_table(tmp_path / "t.csv")
    np.testing.assert_allclose(parquet.x_train, text.x_train, rtol=1e-6)
    assert parquet.preprocessing.targets.labels == text.preprocessing.targets.labels == ("False", "True")
    frame.assign(d=pandas.Timestamp("2024-01-01")).to_parquet(tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"column 4 \('d'\): got '2024-01-01 00:00:00', a date"):
        load_table(tmp_path / "d.parquet", target="c")


def test_a_value_that_makes_all_others_alike_is_told_of(tmp_path, rng):
    x = rng.standard_normal((100, 4)) * [1, 1e5, 1, 1]
    x[:, 2] = 0  # a constant column, and one of a few ones among zeros, have no value of another kind
    x[:, 3] = np.arange(100) % 50 == 0
    y = x[:, 0] + 1
    spoilt = x.copy()
    spoilt[:2, 1], spoilt[7, 0] = [1e30, np.nan], 99999
    for name, values in (("x", x), ("spoilt", spoilt)):
        np.savez(tmp_path / f"{name}.npz", x_train=values, y_train=y, x_test=x, y_test=y)
        table = np.nan_to_num(values)
        np.savetxt(tmp_path / f"{name}.csv", np.column_stack([table, y]), delimiter=",")
    assert load_table(tmp_path / "x.npz").notes == load_table(tmp_path / "x.csv", test_fraction=0.01).notes == ()
    notes = load_table(tmp_path / "spoilt.npz").notes
    assert notes[0].startswith("column 0 (counted from 0): a value of 99999 makes all others nearly the same")
    assert notes[1].startswith("column 1 (counted from 0): a value of 1e+30 makes all others nearly the same")
    assert "column 2: a value of 1e+30" in load_table(tmp_path / "spoilt.csv", test_fraction=0.01).notes[1]
    assert not any("makes all others" in note for note in load_table(tmp_path / "spoilt.npz", scale="none").notes)


def test_columns_are_described():
    x = np.array([[0.0, 1.0], [2.0, 5.0]])
    assert fit_inputs(x, slice(None)).describe() == "standardised (mean 0, deviation 1)"
    assert fit_inputs(x, slice(None), "none").describe() == "as they are"
    assert pixel_coding(4).describe() == "divided by 255"


@pytest.mark.parametrize("kind", ["numbers", "words"])
def test_a_saved_network_predicts_data_as_they_are(tmp_path, rng, kind):
    x = rng.standard_normal((40, 2)) * 100
    y = x[:, 0] * 3 if kind == "numbers" else np.where(x[:, 0] > 0, "yes", "no")
    np.savez(tmp_path / "t.npz", x=x, y=y)
    data = load_table(tmp_path / "t.npz")
    output = "linear" if kind == "numbers" else "softmax"
    net = pn.ParticleNetwork([2, 3, data.num_outputs], seed=0, backend="numpy", output=output)
    net.preprocessing = data.preprocessing
    net.save(tmp_path / "net.safetensors")
    net = pn.load(tmp_path / "net.safetensors", backend="numpy")
    assert net.copy().preprocessing is net.preprocessing
    prepared = data.preprocessing.inputs.encode("x", x)
    if kind == "numbers":
        want = net.predict(prepared) * data.preprocessing.targets.scale + data.preprocessing.targets.offset
    else:
        want = np.array(["no", "yes"])[net.predict(prepared)]
        np.testing.assert_array_equal(predict(net, x, proba=True), net.predict_proba(prepared))
    np.testing.assert_array_equal(predict(net, x), want)
    np.testing.assert_array_equal(predict(net, tmp_path / "t.npz"), want)
    net.preprocessing = None
    np.testing.assert_array_equal(predict(net, x / 100), net.predict((x / 100).astype(np.float32)))
