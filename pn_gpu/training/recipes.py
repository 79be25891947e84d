"""Ways to train that have a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pn_gpu.checks import check_choice, check_number
from pn_gpu.training.optimizers import Adam, RMSProp
from pn_gpu.training.schedules import OneCycle


def _paper(lr: float | None) -> dict[str, Any]:
    return {"optimizer": RMSProp(0.005 if lr is None else lr, decay=0.99), "remove_mean_translation": True}


def _modern(lr: float | None) -> dict[str, Any]:
    return {"optimizer": Adam(OneCycle(0.02 if lr is None else lr)), "remove_mean_translation": True}


RECIPES: dict[str, Callable[[float | None], dict[str, Any]]] = {"modern": _modern, "paper": _paper}


def get_recipe(name: str, lr: float | None = None) -> dict[str, Any]:
    """Keyword arguments of `Network.fit`.

    Parameters
    ----------
    name : {"modern", "paper"}
        modern: Adam with a one-cycle schedule. paper: RMSProp at a constant rate, decay 0.99.
    lr : float, optional
        (Peak) learning rate; default 0.02 (modern) and 0.005 (paper).

    Raises
    ------
    ValueError
        If the name is unknown or the rate is not above 0.
    """
    rate = None if lr is None else check_number("lr", lr, low=0, low_open=True)
    return RECIPES[check_choice("recipe", name, RECIPES)](rate)
