"""Gradient bytes of data-parallel training: O(N + M) for a particle layer, O(N M) for a dense one."""

import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel


def gradient_bytes(module: nn.Module) -> int:
    """Bytes of all gradients of ``module``, which each process gives to an exchange; shared ones once."""
    return sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)


class GradientTraffic:
    """Counts what a DistributedDataParallel model really hands to its all-reduces.

    Parameters
    ----------
    model : torch.nn.parallel.DistributedDataParallel
        Not yet given another communication hook, and not yet run.

    Attributes
    ----------
    bytes : int
        Bytes that this process has given to all-reduces so far.
    exchanges : int
        Number of completed gradient exchanges (backward passes).

    Raises
    ------
    TypeError
        If ``model`` is no DistributedDataParallel.

    Examples
    --------
    >>> ddp = DistributedDataParallel(ParticleMLP([784, 512, 10]))      # doctest: +SKIP
    >>> traffic = GradientTraffic(ddp)                                  # doctest: +SKIP
    >>> loss.backward(); print(traffic)                                 # doctest: +SKIP
    """

    def __init__(self, model: DistributedDataParallel) -> None:
        if not isinstance(model, DistributedDataParallel):
            raise TypeError(f"model: got {type(model).__name__}, want a DistributedDataParallel")
        self.bytes = 0
        self.exchanges = 0
        group = model.process_group

        # DDP wants annotations that are its own classes: this module must not turn them into strings.
        def count_and_reduce(traffic: GradientTraffic, bucket: dist.GradBucket) -> Future[Tensor]:
            buffer = bucket.buffer()
            traffic.bytes += buffer.numel() * buffer.element_size()
            traffic.exchanges += bucket.is_last()
            work = dist.all_reduce(buffer.div_(group.size()), group=group, async_op=True)
            assert work is not None
            return work.get_future().then(lambda future: future.value()[0])

        model.register_comm_hook(self, count_and_reduce)

    @property
    def bytes_per_exchange(self) -> float:
        """Mean bytes of one gradient exchange, 0 before the first."""
        return self.bytes / self.exchanges if self.exchanges else 0.0

    def __repr__(self) -> str:
        return f"GradientTraffic(exchanges={self.exchanges}, bytes_per_exchange={self.bytes_per_exchange:,.0f})"
