"""Files that are either written whole or left as they were, and the folder of those that are kept between runs."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    If the block raises, the temporary file is removed and what was at ``path`` stays as it was. What a killed process
    left of its temporary file for ``path`` is removed too. A device or a pipe at ``path`` is written to, not replaced.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    OSError
        If ``path`` is a folder, or cannot be written.
    """
    target = Path(path)
    _check_target(target)
    is_device = target.exists() and not target.is_file()
    folder = Path(tempfile.gettempdir()) if is_device else target.parent
    _remove_leftovers(folder, target.name)
    handle, temporary = _make_temporary(folder, target)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if is_device:
            with temporary.open("rb") as content, target.open("wb") as device:
                shutil.copyfileobj(content, device)
            return
        # mkstemp makes files private; the finished one gets the permissions any new file would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        if fcntl is None:
            os.close(handle)
            handle = -1
        temporary.replace(target)
    finally:
        if handle >= 0:
            os.close(handle)
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out, before long work, whether `replacing` could write ``path`` now; raises as it does."""
    target = Path(path)
    _check_target(target)
    if target.exists() and not target.is_file():
        return
    handle, temporary = _make_temporary(target.parent, target)
    os.close(handle)
    temporary.unlink()


def cache_folder() -> Path:
    """Where downloads and measured costs are kept: ``PN_GPU_CACHE``, else ``pn_gpu`` in the user's cache folder."""
    own = os.environ.get("PN_GPU_CACHE")
    return Path(own) if own else platformdirs.user_cache_path("pn_gpu", appauthor=False)


def _check_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: the folder {target.parent} does not exist")
    if target.is_dir():
        raise IsADirectoryError(f"{target}: got a folder, want a file")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"{target}: the file there is read-only")


def _make_temporary(folder: Path, target: Path) -> tuple[int, Path]:
    """A new file that this process holds a lock on for as long as its handle is open."""
    while True:
        try:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=folder)
        except OSError as error:
            raise type(error)(f"{target}: cannot be written ({error.strerror})") from None
        # Another process may take a file that is not locked yet for a leftover.
        if _lock(handle, if_unknown=True) and os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)
        Path(name).unlink(missing_ok=True)


def _remove_leftovers(folder: Path, name: str) -> None:
    """Temporary files for ``name`` whose process is gone, and with it the lock."""
    for found in folder.glob(f".{glob.escape(name)}.*.part"):
        with suppress(OSError):
            handle = os.open(found, os.O_RDWR)
            try:
                is_leftover = stat.S_ISREG(os.fstat(handle).st_mode) and _lock(handle, if_unknown=False)
                if is_leftover and fcntl is not None:
                    found.unlink()
            finally:
                os.close(handle)
            if is_leftover and fcntl is None:
                found.unlink()


def _lock(handle: int, if_unknown: bool) -> bool:
    """Whether this process has the lock now; some network file systems know no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return if_unknown
    return True
