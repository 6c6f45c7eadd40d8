"""The counters of a run, which a checkpoint saves and a resumed run restores."""

import math

from pydantic import BaseModel, ConfigDict, Field

from charnn.config import MAX_COUNT


class Counters(BaseModel):
    """Progress of a run. `loss_sum` and `loss_count` are since the last logged step.

    `seconds` is the total of all sessions; `best_loss` is in nats per token; `lr_scale` is halved
    at each rollback; `skipped` is the number of consecutive float16 steps that overflowed.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    step: int = Field(default=0, ge=0, le=MAX_COUNT)
    tokens: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    loss_sum: float = 0.0
    loss_count: int = Field(default=0, ge=0, le=MAX_COUNT)
    best_loss: float | None = None
    best_step: int = Field(default=0, ge=0, le=MAX_COUNT)
    evaluated_at: int = Field(default=0, ge=0, le=MAX_COUNT)
    evaluations_since_best: int = Field(default=0, ge=0, le=MAX_COUNT)
    lr_scale: float = Field(default=1.0, gt=0, le=1)
    skipped: int = Field(default=0, ge=0, le=MAX_COUNT)

    def count_step(self, loss: float, tokens: int) -> None:
        """Count a step. A loss that overflowed in float16 is excluded from the mean."""
        self.step += 1
        self.tokens += tokens
        if math.isfinite(loss):
            self.loss_sum += loss
            self.loss_count += 1

    def count_evaluation(self, loss: float) -> bool:
        """Count a validation. Return whether its loss is the lowest so far."""
        self.evaluated_at = self.step
        best = loss < (math.inf if self.best_loss is None else self.best_loss)
        self.evaluations_since_best = 0 if best else self.evaluations_since_best + 1
        if best:
            self.best_loss, self.best_step = loss, self.step
        return best

    def take_mean_loss(self) -> float:
        """Return the mean loss of the steps since the last call; NaN if there were none."""
        mean = self.loss_sum / self.loss_count if self.loss_count else math.nan
        self.loss_sum, self.loss_count = 0.0, 0
        return mean
