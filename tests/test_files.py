"""Files that are written whole or not at all, and the folder of those that are kept."""

import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from pn_gpu.files import cache_folder, check_writable, replacing

ROOT = Path(__file__).parents[1]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), replacing(tmp_path / "nowhere" / "file"):
        pass


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path):
    path = tmp_path / "net[1].safetensors"
    code = f"""
import os
from pn_gpu.files import replacing
with replacing({str(path)!r}) as temporary:
    temporary.write_text("half")
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, env=os.environ | {"PYTHONPATH": str(ROOT)})
    (leftover,) = tmp_path.iterdir()
    other = tmp_path / ".other.x.part"
    other.write_text("of another file")
    with replacing(path) as first:
        assert not leftover.exists()
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
        assert first.exists()
    assert path.read_text() == "first"
    assert set(tmp_path.iterdir()) == {path, other}


def test_a_device_is_written_to_and_stays_one():
    with replacing(os.devnull) as temporary:
        temporary.write_text("nothing")
    assert not Path(os.devnull).is_file()


def test_what_cannot_be_written_is_found_out_before(tmp_path):
    check_writable(tmp_path / "a")
    check_writable(os.devnull)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match=r"the folder .*none does not exist"):
        check_writable(tmp_path / "none" / "a")
    with pytest.raises(IsADirectoryError, match="got a folder, want a file"):
        check_writable(tmp_path)
    if Path("/proc").is_dir():
        with pytest.raises(OSError, match="/proc/a: cannot be written"):
            check_writable("/proc/a")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_files_and_folders(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="the file there is read-only"):
        check_writable(path)
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="cannot be written"):
        check_writable(tmp_path / "b")
    tmp_path.chmod(0o755)


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
