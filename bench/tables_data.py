"""Tables that lie in installed packages, written as the .csv files a person would have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TableSource:
    """A table as a pandas frame, and the column to predict."""

    frame: Callable[[], Any]
    target: str


def _sklearn(name: str) -> Callable[[], Any]:
    def frame() -> Any:
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")(as_frame=True).frame

    return frame


def _penguins() -> Any:
    from palmerpenguins import load_penguins

    return load_penguins()


def _cars() -> Any:
    """Without the cars' names and years, which are no numbers; six have no horsepower, eight no mileage."""
    from vega_datasets import local_data

    return local_data.cars().drop(columns=["Name", "Year"])


TABLES = {
    "wine": TableSource(_sklearn("wine"), "target"),
    "breast_cancer": TableSource(_sklearn("breast_cancer"), "target"),
    "digits": TableSource(_sklearn("digits"), "target"),
    "diabetes": TableSource(_sklearn("diabetes"), "target"),
    "penguins": TableSource(_penguins, "species"),
    "cars": TableSource(_cars, "Miles_per_Gallon"),
}


def write_table(name: str, folder: Path) -> Path:
    """The table as a .csv file in the folder."""
    path = folder / f"{name}.csv"
    TABLES[name].frame().to_csv(path, index=False)
    return path
