"""Data sets by name or path."""

import numpy as np
import pytest

from pn_gpu.data import load, load_inputs
from support.idx_files import write_idx, write_mnist_like


def test_a_name_comes_before_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_mnist_like(tmp_path / "digits")
    assert load("digits").num_features == 64
    assert load("./digits").num_features == 16


def test_a_current_folder_has_a_name(tmp_path, monkeypatch):
    write_mnist_like(tmp_path / "shapes")
    monkeypatch.chdir(tmp_path / "shapes")
    assert load(".").name == "shapes"


@pytest.mark.parametrize("source", ["minst", "no/such/folder", "table.csv"])
def test_unknown_names_say_what_there_is(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or folder, want 'digits', 'mnist', a folder"):
        load(source)


@pytest.mark.parametrize("source", [None, 3, ["digits"]])
def test_no_name_at_all(source):
    with pytest.raises(TypeError, match=r"source: got .* want a name or a path"):
        load(source)


def test_options_of_another_loader(tmp_path):
    with pytest.raises(TypeError, match="target: no option of load_digits, want one of scale, preprocessing"):
        load("digits", target="a")
    write_mnist_like(tmp_path)
    with pytest.raises(TypeError, match="seed: no option of load_idx"):
        load(tmp_path, seed=1)
    (tmp_path / "t.csv").write_text("1,0\n2,1\n")
    with pytest.raises(TypeError, match="path: no option of load_table, want one of target, task, test_fraction"):
        load(tmp_path / "t.csv", path="x")


def test_inputs_from_an_idx_file(tmp_path):
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    path = write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", images)
    np.testing.assert_allclose(load_inputs(path), images.reshape(3, 4) / 255, rtol=1e-6)
