"""Speed, measured: `davy bench NAME`. A bench gives figures with their goals and what they stand against."""

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. goal "" where there is none; `at_least` says which way the goal points."""

    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False
    against: str = ""

    def plain(self) -> dict[str, Any]:
        better = None if self.goal is None else (self.value >= self.goal if self.at_least else self.value <= self.goal)
        sign = ">=" if self.at_least else "<="
        return {
            "value": self.value,
            "unit": self.unit,
            "goal": None if self.goal is None else f"{sign} {self.goal:g}",
            "meets": better,
            "against": self.against,
        }


#: name -> module with `run() -> dict[str, Figure]`.
BENCHES: dict[str, str] = {
    "pipeline": "davy.lab.bench.pipeline",
    "alarm-latency": "davy.lab.bench.latency",
    "log": "davy.lab.bench.log",
    "modbus": "davy.lab.bench.modbus",
}


def machine() -> str:
    """What the numbers were measured on, in a line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            model = next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux: the architecture has to do
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}"


def run(name: str) -> dict[str, Any]:
    """One bench as the object `davy bench NAME --json` prints."""
    bench: Callable[[], Mapping[str, Figure]] = import_module(BENCHES[name]).run
    figures = {key: figure.plain() for key, figure in bench().items()}
    return {"bench": name, "machine": machine(), "figures": figures}
