"""The download of MNIST, from servers on this machine and from none."""

import hashlib
import http.server
import socket
import threading
from functools import partial

import numpy as np
import pytest

from pn_gpu.data import DownloadError, download_mnist, load, load_mnist, mnist
from support.idx_files import idx_bytes, mnist_like, write_idx, write_mnist_like


class _Server(http.server.ThreadingHTTPServer):
    """A folder on 127.0.0.1 that counts what is asked of it."""

    def __init__(self, folder):
        self.asked = []
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path.lstrip("/"))
        super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    """A function that serves a folder and returns the server."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    servers = []

    def start(folder):
        server = _Server(folder)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def origin(tmp_path, monkeypatch):
    """A folder with small files, whose checksums stand in for MNIST's."""
    arrays = write_mnist_like(tmp_path / "origin")
    checksums = {name: hashlib.md5(idx_bytes(array)).hexdigest() for name, array in arrays.items()}
    assert set(checksums) == set(mnist.FILES)
    monkeypatch.setattr(mnist, "FILES", checksums)
    return tmp_path / "origin"


@pytest.fixture
def nowhere():
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}/"


def test_download_then_nothing_more(tmp_path, origin, serve):
    server = serve(origin)
    folder = download_mnist(tmp_path / "new" / "mnist", [server.address], progress=False)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.gz" for name in mnist.FILES)
    assert len(server.asked) == 4
    data = load_mnist(folder, progress=False)
    assert len(server.asked) == 4
    assert data.name == "mnist"
    np.testing.assert_array_equal(data.y_train, mnist_like()["train-labels-idx1-ubyte"])


def test_load_uses_the_cache_folder(tmp_path, origin, serve, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", (serve(origin).address,))
    monkeypatch.setenv("PN_GPU_CACHE", str(tmp_path / "cache"))
    download_mnist(tmp_path / "cache" / "mnist", mnist.MIRRORS, progress=False)
    assert load("mnist").num_classes == 10


def test_progress_goes_to_standard_error(tmp_path, origin, serve, capsys):
    download_mnist(tmp_path / "new", [serve(origin).address])
    captured = capsys.readouterr()
    assert "train-images-idx3-ubyte.gz" in captured.err
    assert captured.out == ""


def test_only_what_is_missing_or_cut_short_is_fetched(tmp_path, origin, serve):
    folder = tmp_path / "partly"
    folder.mkdir()
    arrays = mnist_like()
    write_idx(folder / "train-images-idx3-ubyte", arrays["train-images-idx3-ubyte"])
    write_idx(folder / "train-labels-idx1-ubyte.gz", arrays["train-labels-idx1-ubyte"])
    damaged = folder / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes((origin / damaged.name).read_bytes()[:-20])
    server = serve(origin)
    download_mnist(folder, [server.address], progress=False)
    assert server.asked == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    assert damaged.read_bytes() == (origin / damaged.name).read_bytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_another_data_set_is_not_overwritten(tmp_path, origin, serve, suffix):
    path = tmp_path / "other" / f"train-images-idx3-ubyte{suffix}"
    path.parent.mkdir()
    write_idx(path, np.zeros((2, 4, 4), np.uint8))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not MNIST's; remove it or name another folder"):
        download_mnist(path.parent, [serve(origin).address], progress=False)
    assert path.read_bytes() == before


def test_the_next_mirror_takes_over(tmp_path, origin, serve, nowhere):
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for index, name in enumerate(mnist.FILES):
        if index == 0:
            write_idx(wrong / f"{name}.gz", np.zeros(3, np.uint8))  # right format, wrong content
        elif index == 1:
            (wrong / f"{name}.gz").write_bytes(b"<html>moved</html>")
        elif index == 2:
            (wrong / f"{name}.gz").write_bytes((origin / f"{name}.gz").read_bytes()[:-9])
    server, bad = serve(origin), serve(wrong)
    folder = download_mnist(tmp_path / "new", [nowhere, bad.address, server.address], progress=False)
    assert len(bad.asked) == len(server.asked) == 4
    for path in folder.iterdir():
        assert path.read_bytes() == (origin / path.name).read_bytes()


def test_no_network_is_one_line_that_says_what_to_do(tmp_path, nowhere):
    with pytest.raises(DownloadError) as caught:
        download_mnist(tmp_path / "new", [nowhere, "http://mirror.invalid/"], progress=False)
    assert isinstance(caught.value, ConnectionError)
    message = str(caught.value)
    assert message.startswith("train-images-idx3-ubyte.gz: no download (")
    assert nowhere in message
    assert f"put the four MNIST files into {tmp_path / 'new'}" in message
    assert "'digits'" in message
    assert "\n" not in message
    assert list((tmp_path / "new").iterdir()) == []


def test_wrong_content_everywhere_leaves_nothing(tmp_path, origin, serve):
    for name in mnist.FILES:
        write_idx(origin / f"{name}.gz", np.zeros(3, np.uint8))
    with pytest.raises(DownloadError, match="another md5"):
        download_mnist(tmp_path / "new", [serve(origin).address], progress=False)
    assert list((tmp_path / "new").iterdir()) == []


class _Stingy(http.server.BaseHTTPRequestHandler):
    """Promises more bytes than it sends."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"\x1f\x8b" + b"0" * 98)

    def log_message(self, *arguments):
        pass


class _Foreign(_Stingy):
    """Speaks no HTTP."""

    def do_GET(self):
        self.wfile.write(b"220 mail.example ready\r\n")


@pytest.mark.parametrize(
    ("handler", "message"), [(_Stingy, "ended after 100 of 1000 bytes"), (_Foreign, "BadStatusLine")]
)
def test_servers_that_fail_on_the_way(tmp_path, serve, handler, message):
    server = serve(tmp_path)
    server.RequestHandlerClass = handler
    with pytest.raises(DownloadError, match=message):
        download_mnist(tmp_path / "new", [server.address], progress=False)
