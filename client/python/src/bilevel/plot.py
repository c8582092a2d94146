"""Pictures by matplotlib: the history of an optimisation, and the follower's answer on a map.

    result = client.optimize(problem, x, return_history=True, certify_progress=True).result()
    bilevel.plot.history(result).savefig("history.svg")
    bilevel.plot.show(client, problem, result.best.parameters).savefig("map.svg")
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from bilevel.client import Client
from bilevel.problem import Problem
from bilevel.solution import OptimizeResult


def history(result: OptimizeResult) -> Figure:
    """Objective, |h| and, where it was certified, the proven bound on the gradient's error, by iteration."""
    run = result.history
    if run is None:
        raise ValueError("the result has no history; ask for it by return_history=True")
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.plot(run.iterations, run.objective)
    above.set_ylabel("objective")
    below.semilogy(run.iterations, run.gradient_norm, label="|h|")
    known = np.isfinite(run.error_bound)
    below.semilogy(run.iterations[known], run.error_bound[known], label="bound on the gradient's error")
    below.set_xlabel("iteration")
    below.legend()
    return figure


def show(client: Client, problem: Problem, parameters: Optional[npt.ArrayLike] = None) -> Figure:
    """Values, expected moves and incentives on a map, one for each context; their environments need a grid."""
    answers = client.solve(problem, parameters, return_reward=True)
    figure = Figure(figsize=(5 * len(answers), 5), layout="constrained")
    panels = figure.subplots(1, len(answers), squeeze=False)[0]
    for panel, context, answer in zip(panels, problem.contexts, answers):
        _show(figure, panel, context, answer)
    return figure


def _show(figure: Figure, panel: Any, context: Any, answer: Any) -> None:
    grid = context.mdp.grid
    if grid is None:
        raise ValueError(f"the environment of context {context.label!r} has no grid, so there is no map")
    row, col = np.divmod(np.asarray(grid.cells, dtype=np.int64), grid.cols)
    values = np.full((grid.rows, grid.cols), np.nan)
    values[row, col] = answer.value
    figure.colorbar(panel.imshow(values, cmap="Blues"), ax=panel, label="value", shrink=0.8)
    incentive = (answer.policy * answer.incentive).sum(axis=1)
    if np.any(incentive):
        size = 200 * np.abs(incentive) / np.abs(incentive).max()
        panel.scatter(col, row, s=size, c=np.where(incentive < 0, "tab:red", "tab:green"), alpha=0.6)
    if grid.moves is not None:
        down, right = (answer.policy @ np.asarray(grid.moves, dtype=np.float64)).T
        panel.quiver(col, row, right, down, angles="xy", scale_units="xy", scale=1.3, pivot="mid", width=0.006)
    panel.set_title(answer.label)
    panel.set_xticks([])
    panel.set_yticks([])
