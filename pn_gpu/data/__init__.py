"""Data sets as arrays to train on: the embedded digits, MNIST, IDX folders, tables and .npz files."""

from pn_gpu.data.dataset import Dataset
from pn_gpu.data.digits import load_digits
from pn_gpu.data.idx import load_idx, read_idx
from pn_gpu.data.mnist import DownloadError, download_mnist, load_mnist
from pn_gpu.data.prediction import predict
from pn_gpu.data.preprocessing import Preprocessing
from pn_gpu.data.sources import load, load_inputs
from pn_gpu.data.table import load_table

__all__ = [
    "Dataset",
    "DownloadError",
    "Preprocessing",
    "download_mnist",
    "load",
    "load_digits",
    "load_idx",
    "load_inputs",
    "load_mnist",
    "load_table",
    "predict",
    "read_idx",
]
