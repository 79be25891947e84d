"""MNIST from the network: four checked files in a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pn_gpu.data.dataset import Dataset
from pn_gpu.data.idx import gunzip, load_idx
from pn_gpu.data.preprocessing import Preprocessing
from pn_gpu.files import cache_folder, replacing

# md5 of the unpacked files: mirrors pack them differently. (So a downloader that checks files as they come, such as
# pooch, does not serve here; it would bring requests along and knows no second mirror.)
FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)

TIMEOUT = 20.0
"""Seconds without a byte after which a mirror is given up."""


class DownloadError(ConnectionError):
    """No mirror gave a file; the message says what to do about it."""


def load_mnist(
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
    *,
    scale: str = "auto",
    preprocessing: Preprocessing | None = None,
) -> Dataset:
    """MNIST (LeCun, Cortes and Burges): 60,000 training and 10,000 test images of 28 x 28 pixels.

    Parameters
    ----------
    folder : path, optional
        Where the files are, or are to be put; by default ``mnist`` in the folder ``PN_GPU_CACHE``, or
        in the user's cache folder for this library.
    progress : bool, default True
        Whether a bar on standard error shows the download.
    scale, preprocessing
        As in `load_table`: by default pixels are divided by 255.

    Raises
    ------
    DownloadError
        If a file is missing and no mirror gives it.
    """
    folder = cache_folder() / "mnist" if folder is None else Path(folder)
    download_mnist(folder, progress=progress)
    return dataclasses.replace(load_idx(folder, scale=scale, preprocessing=preprocessing), name="mnist")


def download_mnist(folder: str | os.PathLike[str], mirrors: Sequence[str] = MIRRORS, progress: bool = True) -> Path:
    """Fetch the files of MNIST that ``folder`` lacks, check them, and return the folder.

    A file that is there with the right content, plain or gzipped, is left alone. A new file is written under
    another name and renamed when its checksum is right: an interrupted download leaves nothing half done.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    mirrors : sequence of str
        Addresses to which the names of the files are appended, tried in turn.
    progress : bool, default True
        Whether a bar on standard error shows the download.

    Raises
    ------
    DownloadError
        If no mirror gives a file.
    ValueError
        If a file of that name is there but holds something else. (One that was cut short is fetched again.)
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, md5 in FILES.items():
        packed = folder / f"{name}.gz"
        if not any(_is_there(path, md5) for path in (folder / name, packed)):
            content = _fetch(packed.name, md5, mirrors, folder, progress)
            with replacing(packed) as temporary:
                temporary.write_bytes(content)
    return folder


def _is_there(path: Path, md5: str) -> bool:
    """Whether a file is there and whole; a ValueError if it is of another data set, not ours to replace."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gunzip(str(path), content)
        except ValueError:
            return False
    if _md5(content) != md5:
        raise ValueError(f"{path}: this file is not MNIST's; remove it or name another folder")
    return True


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _fetch(name: str, md5: str, mirrors: Iterable[str], folder: Path, progress: bool) -> bytes:
    """The content of a gzipped file from the first mirror that has the right one."""
    failures = []
    for mirror in mirrors:
        try:
            content = _get(mirror.rstrip("/") + "/" + name, name, progress)
            if _md5(gunzip(name, content)) != md5:
                raise ValueError("the file has another md5 than MNIST's")
        except (OSError, ValueError) as error:
            failures.append(f"{mirror}: {error}")
        else:
            return content
    raise DownloadError(
        f"{name}: no download ({'; '.join(failures) or 'no mirrors given'}). Without a network, put the four "
        f"MNIST files into {folder}, or train on the embedded 'digits'"
    )


def _get(url: str, name: str, progress: bool) -> bytes:
    # Half of the import time of this package, wanted once in the life of a cache folder.
    from http.client import HTTPException
    from urllib.request import urlopen

    from tqdm import tqdm

    content = bytearray()
    try:
        with urlopen(url, timeout=TIMEOUT) as response:
            length = int(response.headers.get("Content-Length", 0)) or None
            bar = tqdm(total=length, unit="B", unit_scale=True, desc=name, leave=False, disable=not progress)
            with bar:
                while chunk := response.read(1 << 16):
                    content += chunk
                    bar.update(len(chunk))
    except HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    if length is not None and len(content) != length:
        raise ConnectionError(f"the connection ended after {len(content)} of {length} bytes")
    return bytes(content)
