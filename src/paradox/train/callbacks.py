"""What every training does beside training: report, keep curves, stop when it breaks."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from paradox.errors import TrainingError
from paradox.files import write_table
from paradox.progress import Progress

# Wall-clock figures differ between equal runs, so they are left to the logs.
TIMES = frozenset(
    {
        "step_time",
        "train_runtime",
        "train_samples_per_second",
        "train_steps_per_second",
        "total_flos",
        "train_loss",
    }
)


class Watch(TrainerCallback):
    """Report progress and stop at the first loss that is not finite."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report the step."""
        last = state.log_history[-1] if state.log_history else {}
        note = " ".join(f"{name} {last[name]:.3f}" for name in ("loss", "reward") if name in last)
        self.progress("step", state.global_step, state.max_steps, note)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Check the logged numbers."""
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(float(value)):
                raise TrainingError(
                    f"{self.progress.label}: {name} is not finite (found {value}) at step "
                    f"{state.global_step} of {state.max_steps}. Lower the learning rate (key "
                    "learning_rate of the section that this step uses) or raise the precision."
                )


class Constants(TrainerCallback):
    """Write numbers into each row of the curves that do not change while a trainer learns."""

    def __init__(self, values: dict[str, float]) -> None:
        self.values = values

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Add them to the row that was written last."""
        state.log_history[-1].update(self.values)


def tensorboard(folder: Path, anew: bool = True) -> None:
    """Let the training that starts next write its TensorBoard events to `folder` only."""
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    # The trainer's integration takes the folder from here.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder)


def curves(log_history: list[dict[str, Any]], path: Path, without: frozenset[str] = TIMES) -> None:
    """Write the logged training curve as a table, one row per logged step."""
    rows = [row for row in log_history if "loss" in row or "reward" in row]
    # A log that went through a checkpoint comes back in another order.
    names = sorted({name for row in rows for name in row} - without - {"step"})
    write_table(path, pd.DataFrame(rows, columns=["step", *names]))
