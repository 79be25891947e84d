"""Data-parallel training: every process computes a part of each batch, and the gradients are added up.

What travels is the network's one flat gradient vector: O(N + M) numbers per layer, against O(N M) for a dense network.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy

Array = Any


class SingleProcess:
    """The one process of an ordinary run; leaving its ``with`` block leaves the group."""

    rank = 0
    size = 1

    def sum(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """``values`` added up over all processes."""
        return values

    def close(self) -> None:
        """Leave the group."""

    def __enter__(self) -> SingleProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class TorchProcesses(SingleProcess):
    """The processes that ``torchrun`` started, over torch.distributed.

    A group that was there already is used, and left to whoever opened it.

    Parameters
    ----------
    timeout : float, default 300
        Seconds after which a peer that does not answer counts as dead: the run then ends with an error.
    """

    def __init__(self, timeout: float = 300.0) -> None:
        import torch.distributed as distributed

        self._opened = not distributed.is_initialized()
        if self._opened:
            distributed.init_process_group("gloo", timeout=timedelta(seconds=timeout))
        self._distributed = distributed
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()

    def sum(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import torch

        tensor = torch.from_numpy(values.copy())
        try:
            self._distributed.all_reduce(tensor)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ConnectionError(f"process {self.rank}: a peer died or did not answer in time ({reason})") from error
        return np.asarray(tensor)

    def close(self) -> None:
        # Threads of the group that outlive the interpreter abort the process, whatever its exit code was to be.
        if self._opened and self._distributed.is_initialized():
            self._distributed.destroy_process_group()


def processes_of_environment(timeout: float = 300.0) -> SingleProcess:
    """The processes that ``torchrun`` announced in the environment, else this one alone."""
    return TorchProcesses(timeout) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else SingleProcess()


def sum_gradient(processes: SingleProcess, flat: Array, backend: Any) -> Array:
    """The flat gradient added up over all processes; nothing is copied for one process."""
    if processes.size == 1:
        return flat
    return backend.asarray(processes.sum(to_numpy(flat)))
