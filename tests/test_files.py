"""Files that are written whole or not at all, and the folder of those that are kept."""

import sys

import platformdirs
import pytest

from pn_gpu.files import cache_folder, replacing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), replacing(tmp_path / "nowhere" / "file"):
        pass


def test_one_variable_names_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("PN_GPU_CACHE", raising=False)
    assert cache_folder() == platformdirs.user_cache_path("pn_gpu", appauthor=False)
    monkeypatch.setenv("PN_GPU_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the variable of Linux desktops")
def test_the_default_follows_the_desktop(tmp_path, monkeypatch):
    monkeypatch.delenv("PN_GPU_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pn_gpu"
