"""What a call of the operator costs in Python: layers so small that hardly anything else is left.

    python -m bench.gpu_overhead                          on the GPU where there is one, else on the CPU
    python -m bench.gpu_overhead --nodes 64 --batch 32

On a GPU this is the time to enqueue a call. On the CPU the kernel runs within it, in the same thread: its own time is
listed too, and the clock is that of the thread, which a busy machine does not disturb.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import pn_gpu as pn
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct, Particles
from pn_gpu.kernels.torch.compute import room_of
from pn_gpu.nn import ParticleLinear


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--nodes", type=int, default=16, help="of each node set (default: 16)")
    parser.add_argument("--batch", type=int, default=2, help="rows of x (default: 2)")
    parser.add_argument("--rounds", type=int, default=40, help="interleaved rounds (default: 40)")
    parser.add_argument("--calls", type=int, default=50, help="calls per round (default: 50)")


def run(args: argparse.Namespace) -> None:
    """Print the median and the least microseconds of each call, and the ratio of medians to nn.Linear's."""
    clock = time.thread_time if args.device == "cpu" else time.perf_counter
    for title, calls in _calls(torch.device(args.device), args.nodes, args.batch).items():
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(args.rounds):
            for name, call in calls.items():
                begin = clock()
                for _ in range(args.calls):
                    call()
                seconds[name].append((clock() - begin) / args.calls)
                if args.device != "cpu":
                    torch.cuda.synchronize()
        linear = statistics.median(seconds["nn.Linear"])
        shape = f"{args.nodes} by {args.nodes}, batch {args.batch}"
        print(f"{title} on {args.device}, {shape}; at the end in units of nn.Linear")
        for name, values in seconds.items():
            median, least = statistics.median(values), min(values)
            figures = f"median {1e6 * median:7.1f} us  least {1e6 * least:7.1f} us  {median / linear:6.2f}"
            print(f"  {name:24} {figures}")


def _calls(device: torch.device, nodes: int, batch: int) -> dict[str, dict[str, Callable[[], object]]]:
    x = torch.randn(batch, nodes, device=device)
    dz = torch.randn(batch, nodes, device=device)
    linear, particles = nn.Linear(nodes, nodes, device=device), ParticleLinear(nodes, nodes, device=device)
    of_linear, of_particles = tuple(linear.parameters()), tuple(particles.parameters())
    operands = Particles(*particles._operands())
    how = Direct(potentials.get("gaussian"))
    room = room_of(device, how)

    forwards = {
        "nn.Linear": lambda: linear(x),
        "ParticleLinear": lambda: particles(x),
        "pn_gpu.particle_linear": lambda: pn.particle_linear(x, *operands, particles.bias),
        "the kernel itself": torch.no_grad()(lambda: room.forward(x, operands, particles.bias, how)),
    }
    detached = Particles(*(p.detach() for p in operands))
    both = {
        "nn.Linear": lambda: torch.autograd.grad(linear(x), of_linear, dz),
        "ParticleLinear": lambda: torch.autograd.grad(particles(x), of_particles, dz),
        "the kernels themselves": torch.no_grad()(
            lambda: (
                room.forward(x, detached, particles.bias, how),
                room.backward(dz, x, detached, how, need_dx=False),
            )
        ),
    }
    return {
        "forward, no gradient recorded": {name: torch.no_grad()(call) for name, call in forwards.items()},
        "forward": forwards,
        "forward and backward": both,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
