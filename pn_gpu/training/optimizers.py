"""Optimisers: one vectorised update of the flat parameter vector.

An optimiser object holds hyper-parameters only. Its state, arrays as long as the parameter vector, belongs to the
training run, so one object may train many networks and a checkpoint can hold the state.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from pn_gpu.checks import check_flag, check_number
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.training.schedules import Schedule, as_schedule

Array = Any
State = dict[str, Array]


class Optimizer(ABC):
    """What every optimiser has.

    A subclass gives `rates` and `move`, or overrides `update`; then no CUDA graph replays its steps.

    Parameters
    ----------
    lr : float or Schedule
        Learning rate.
    """

    def __init__(self, lr: float | Schedule) -> None:
        self.lr = as_schedule(lr)

    @abstractmethod
    def start(self, parameters: Array) -> State:
        """The state before the first step, for a parameter vector [P]."""

    def update(self, parameters: Array, gradient: Array, state: State, lr: float, step: int) -> None:
        """Move ``parameters`` [P] in place; ``step`` counts from 0."""
        self.move(parameters, gradient, state, self.rates(lr, step))

    def rates(self, lr: float, step: int) -> tuple[float, ...]:
        """All that `move` needs to know of the learning rate and of how many steps were done."""
        raise NotImplementedError

    def move(self, parameters: Array, gradient: Array, state: State, rates: Sequence[Any]) -> None:
        """Move ``parameters`` [P] in place by ``rates``, numbers or arrays of no dimension; state in place too."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


class SGD(Optimizer):
    """Stochastic gradient descent: v <- momentum v + g; p <- p - lr v.

    Parameters
    ----------
    lr : float or Schedule, default 0.01
    momentum : float, default 0
        0 <= momentum < 1.
    nesterov : bool, default False
        p <- p - lr (g + momentum v) instead.
    """

    def __init__(self, lr: float | Schedule = 0.01, momentum: float = 0.0, nesterov: bool = False) -> None:
        super().__init__(lr)
        self.momentum = check_number("momentum", momentum, low=0, high=1, high_open=True)
        self.nesterov = check_flag("nesterov", nesterov)

    def start(self, parameters: Array) -> State:
        return {"velocity": namespace_of(parameters).zeros_like(parameters)} if self.momentum else {}

    def rates(self, lr: float, step: int) -> tuple[float, ...]:
        return (lr,)

    def move(self, parameters: Array, gradient: Array, state: State, rates: Sequence[Any]) -> None:
        (lr,) = rates
        direction = gradient
        if self.momentum:
            velocity = state["velocity"]
            velocity *= self.momentum
            velocity += gradient
            direction = gradient + self.momentum * velocity if self.nesterov else velocity
        parameters -= lr * direction


class RMSProp(Optimizer):
    """m <- decay m + (1 - decay) g^2; p <- p - lr g / sqrt(m + epsilon): the paper's optimiser.

    Parameters
    ----------
    lr : float or Schedule, default 0.005
    decay : float, default 0.99
        0 <= decay < 1.
    epsilon : float, default 1e-7
        Above 0; under the root, as in the paper author's program.
    """

    def __init__(self, lr: float | Schedule = 0.005, decay: float = 0.99, epsilon: float = 1e-7) -> None:
        super().__init__(lr)
        self.decay = check_number("decay", decay, low=0, high=1, high_open=True)
        self.epsilon = check_number("epsilon", epsilon, low=0, low_open=True)

    def start(self, parameters: Array) -> State:
        return {"mean_square": namespace_of(parameters).zeros_like(parameters)}

    def rates(self, lr: float, step: int) -> tuple[float, ...]:
        return (lr,)

    def move(self, parameters: Array, gradient: Array, state: State, rates: Sequence[Any]) -> None:
        (lr,) = rates
        mean_square = state["mean_square"]
        mean_square *= self.decay
        mean_square += (1 - self.decay) * gradient * gradient
        parameters -= lr * gradient / namespace_of(parameters).sqrt(mean_square + self.epsilon)


class Adagrad(Optimizer):
    """a <- a + g^2; p <- p - lr g / (sqrt(a) + epsilon).

    Parameters
    ----------
    lr : float or Schedule, default 0.01
    epsilon : float, default 1e-10
        Above 0.
    """

    def __init__(self, lr: float | Schedule = 0.01, epsilon: float = 1e-10) -> None:
        super().__init__(lr)
        self.epsilon = check_number("epsilon", epsilon, low=0, low_open=True)

    def start(self, parameters: Array) -> State:
        return {"sum_of_squares": namespace_of(parameters).zeros_like(parameters)}

    def rates(self, lr: float, step: int) -> tuple[float, ...]:
        return (lr,)

    def move(self, parameters: Array, gradient: Array, state: State, rates: Sequence[Any]) -> None:
        (lr,) = rates
        sums = state["sum_of_squares"]
        sums += gradient * gradient
        parameters -= lr * gradient / (namespace_of(parameters).sqrt(sums) + self.epsilon)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015); with weight decay it is AdamW (Loshchilov and Hutter, 2019).

    Parameters
    ----------
    lr : float or Schedule, default 0.001
    beta1, beta2 : float, default 0.9 and 0.999
        Decay of the running mean of gradients and of their squares, 0 <= beta < 1.
    epsilon : float, default 1e-8
        Above 0.
    weight_decay : float, default 0
        At least 0; p <- p - lr weight_decay p beside the step, on all parameters.
    """

    def __init__(
        self,
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        self.beta1 = check_number("beta1", beta1, low=0, high=1, high_open=True)
        self.beta2 = check_number("beta2", beta2, low=0, high=1, high_open=True)
        self.epsilon = check_number("epsilon", epsilon, low=0, low_open=True)
        self.weight_decay = check_number("weight_decay", weight_decay, low=0)

    def start(self, parameters: Array) -> State:
        xp = namespace_of(parameters)
        return {"mean": xp.zeros_like(parameters), "mean_square": xp.zeros_like(parameters)}

    def rates(self, lr: float, step: int) -> tuple[float, ...]:
        mean_correction = 1 - self.beta1 ** (step + 1)
        root_correction = (1 - self.beta2 ** (step + 1)) ** 0.5
        return 1 - lr * self.weight_decay, lr * root_correction / mean_correction, self.epsilon * root_correction

    def move(self, parameters: Array, gradient: Array, state: State, rates: Sequence[Any]) -> None:
        kept, lr, epsilon = rates
        mean, mean_square = state["mean"], state["mean_square"]
        mean *= self.beta1
        mean += (1 - self.beta1) * gradient
        mean_square *= self.beta2
        mean_square += (1 - self.beta2) * gradient * gradient
        if self.weight_decay:
            parameters *= kept
        root = namespace_of(parameters).sqrt(mean_square)
        parameters -= lr * mean / (root + epsilon)


class Rprop(Optimizer):
    """Resilient propagation (Riedmiller and Braun, 1993; the variant without backtracking): signs only.

    A step size per parameter grows while its gradient keeps its sign and shrinks when it turns. Meant for full batches.

    Parameters
    ----------
    lr : float or Schedule, default 0.01
        First step size; a schedule scales all steps by its value relative to the first.
    shrink, grow : float, default 0.5 and 1.2
        0 < shrink < 1 < grow.
    smallest, largest : float, default 1e-6 and 1
        Bounds of a step size.
    """

    def __init__(
        self,
        lr: float | Schedule = 0.01,
        shrink: float = 0.5,
        grow: float = 1.2,
        smallest: float = 1e-6,
        largest: float = 1.0,
    ) -> None:
        super().__init__(lr)
        self.shrink = check_number("shrink", shrink, low=0, high=1, low_open=True, high_open=True)
        self.grow = check_number("grow", grow, low=1, low_open=True)
        self.smallest = check_number("smallest", smallest, low=0, low_open=True)
        self.largest = check_number("largest", largest, low=self.smallest)

    def start(self, parameters: Array) -> State:
        xp = namespace_of(parameters)
        return {"sign": xp.zeros_like(parameters), "size": xp.ones_like(parameters)}

    def rates(self, lr: float, step: int) -> tuple[float, ...]:
        # Sizes are kept relative to lr, so that a schedule scales them all. It may end at 0, where no size matters.
        if lr == 0:
            return 0.0, 0.0, math.inf
        return lr, self.smallest / lr, self.largest / lr

    def move(self, parameters: Array, gradient: Array, state: State, rates: Sequence[Any]) -> None:
        lr, smallest, largest = rates
        xp = namespace_of(parameters)
        sign, size = xp.sign(gradient), state["size"]
        turned = state["sign"] * sign
        factor = xp.where(turned > 0, self.grow * xp.ones_like(size), xp.ones_like(size))
        factor = xp.where(turned < 0, self.shrink * xp.ones_like(size), factor)
        size *= factor
        size[:] = xp.clip(size, min=smallest, max=largest)
        sign = xp.where(turned < 0, xp.zeros_like(sign), sign)
        state["sign"][:] = sign
        parameters -= lr * size * sign
