"""The outer loop's steps against the known world: how far each was from what the exact hyper-gradient would have done."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Iterable, Iterator, List, Optional

import grpc
import numpy as np

from bilevel.errors import DeadlineExceeded
from bilevel.outer_loop import OuterStep
from bilevel.solution import Hypergradient

if TYPE_CHECKING:
    from bilevel.client import AnyProblem, Client, LowerLevelOptions


@dataclasses.dataclass(frozen=True, eq=False)
class RefereeRow:
    """A step and the truth at its x. Gradients leave the L1 penalty out, as directions do."""

    number: int  # of the step
    merged: int  # transitions that it was learned from
    objective: float  # phi(x_k), exact
    estimated_objective: float
    gradient_norm: float  # |exact gradient|_2
    cosine: float  # of the angle between the direction and the exact gradient; NaN where one of them is 0
    relative_error: float  # |direction - exact gradient|_2 / |exact gradient|_2
    exact: Hypergradient  # with its certificate, and the norm of the projected gradient map
    step: OuterStep

    @staticmethod
    def of(step: OuterStep, exact: Hypergradient) -> "RefereeRow":
        """Compares them; the step must have its x and direction."""
        direction = np.asarray(step.direction)
        size, length = float(np.linalg.norm(exact.gradient)), float(np.linalg.norm(direction))
        error = float(np.linalg.norm(direction - exact.gradient))
        return RefereeRow(
            number=step.number,
            merged=step.merged,
            objective=exact.objective,
            estimated_objective=step.objective,
            gradient_norm=size,
            cosine=float(direction @ exact.gradient) / (size * length) if size * length > 0 else float("nan"),
            relative_error=error / size if size > 0 else float("inf") if error > 0 else 0.0,
            exact=exact,
            step=step,
        )

    def __str__(self) -> str:
        return (
            f"step {self.number}, {self.merged} transitions: objective {self.objective:.4g} "
            f"(estimated {self.estimated_objective:.4g}), |gradient| {self.gradient_norm:.3g}, "
            f"cosine {self.cosine:.3f}, relative error {self.relative_error:.2g}"
        )


def referee(
    client: "Client",
    problem: "AnyProblem",
    steps: Iterable[OuterStep],
    *,
    batch: int = 64,
    lower_level: Optional["LowerLevelOptions"] = None,
    timeout: Optional[float] = None,
) -> Iterator[RefereeRow]:
    """A row for each step, by the exact hyper-gradient of the problem, transitions and all, at the step's x.

    batch: steps to each call; with 1, rows of `session.steps()` come as the steps do. timeout: of each call; raises
    DeadlineExceeded when a call solves none in time. ValueError where a step has no x, as those of more than 1000 entries.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}; must be >= 1")
    following = iter(steps)
    while taken := list(itertools.islice(following, batch)):
        yield from _rows(client, problem, taken, lower_level, timeout)


def _rows(
    client: "Client",
    problem: "AnyProblem",
    steps: List[OuterStep],
    lower_level: Optional["LowerLevelOptions"],
    timeout: Optional[float],
) -> Iterator[RefereeRow]:
    for step in steps:
        if step.parameters is None or step.direction is None:
            raise ValueError(f"step {step.number} came without its x and direction; nothing can be said of it")
    done = 0
    while done < len(steps):
        where = np.stack([np.asarray(step.parameters) for step in steps[done:]])
        points = client.evaluate_hypergradients(problem, where, lower_level=lower_level, timeout=timeout)
        if not points:
            raise DeadlineExceeded(
                f"the hyper-gradient of step {steps[done].number} took too long", grpc.StatusCode.DEADLINE_EXCEEDED
            )
        for point in points:
            yield RefereeRow.of(steps[done], point)
            done += 1
