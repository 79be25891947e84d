"""Every notebook runs from a clean state, and is committed as it ran."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LARGEST = 300_000  # bytes: a clone shall stay small
SECONDS_A_CELL = 180


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def test_they_are_numbered():
    assert [path.name.split("_")[0] for path in NOTEBOOKS] == [str(number + 1) for number in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) >= 8


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_with_the_outputs_of_one_run(path):
    book = read(path)
    nbformat.validate(book)
    cells = code_cells(book)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert path.stat().st_size < LARGEST


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_a_clean_state(path, tmp_path, monkeypatch):
    """In an empty folder, with a fresh kernel; a cell that raises fails the test."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    if "torch" in path.stem:
        pytest.importorskip("torch")
    # A checkout that is not installed serves the kernel too; its plans' timings stay out of the user's cache.
    monkeypatch.setenv("PYTHONPATH", str(path.parents[1]))
    monkeypatch.setenv("PN_GPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = read(path)
    for cell in code_cells(book):
        cell.outputs, cell.execution_count = [], None
    client = nbclient.NotebookClient(
        book, timeout=SECONDS_A_CELL, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    stderr = [out.text for cell in code_cells(book) for out in cell.outputs if out.get("name") == "stderr"]
    assert stderr == []
