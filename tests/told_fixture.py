"""What the plan of the repository's configuration tells steps of the declarations."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import yaml
from conftest import ROOT

from paradox.report.sources import Claim
from paradox.study.load import MAIN
from paradox.study.mechanisms import Mechanisms
from paradox.study.plan import Study


@cache
def mechanisms() -> Mechanisms:
    """Return the plan."""
    return Mechanisms(Study.load(yaml.safe_load((ROOT / MAIN).read_text()), ROOT))


def summary(name: str) -> dict[str, Any]:
    """Return what the step of a summary is told."""
    return json.loads(mechanisms().summary_spec(name))


def figure(name: str) -> dict[str, Any]:
    """Return what the step of a figure is told."""
    return json.loads(mechanisms().figure_spec(name))


def claims() -> list[Claim]:
    """Return the claims that the paper judges."""
    return [Claim(**claim) for claim in json.loads(mechanisms().study.spec("paper"))["claims"]]
