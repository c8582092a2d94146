"""Random soft-optimal policies for the layers of PyTorch and JAX: shared and own transitions, masks, termination."""

from typing import Any, Iterator, NamedTuple, Optional

import numpy as np

import bilevel


class Case(NamedTuple):
    name: str
    reward: np.ndarray
    transitions: np.ndarray  # dense, or values of the sparse pattern
    discount: Any
    temperature: Any
    mask: Optional[np.ndarray]
    pattern: Optional[tuple]  # offsets, columns

    def answer(self, layer, client):
        """soft_policy of a layer as a function of its four differentiable arguments."""
        S, A = self.reward.shape[-2:]

        def soft_policy(reward, transitions, discount, temperature):
            if self.pattern is not None:
                transitions = bilevel.Csr(*self.pattern, transitions, (S * A, S))
            return layer.soft_policy(
                reward, transitions, discount, temperature, available_actions=self.mask, client=client
            )

        return soft_policy


def _rows(rng, *shape, end):
    """Random rows; with `end` they leave room for termination."""
    rows = rng.dirichlet(np.ones(shape[-1] + 1), size=shape[:-1])
    return rows[..., :-1] if end else rows[..., :-1] / rows[..., :-1].sum(-1, keepdims=True)


def cases(seed: int) -> Iterator[Case]:
    rng = np.random.default_rng(seed)
    S, A, B = 4, 3, 2
    mask = np.ones((S, A), dtype=bool)
    mask[1, 2] = mask[3, 0] = False
    number, batch = np.array(0.9), np.array([0.7, 0.95])
    yield Case("one", rng.normal(size=(S, A)), _rows(rng, S, A, S, end=True), number, np.array(0.4), None, None)
    yield Case("shared", rng.normal(size=(B, S, A)), _rows(rng, S, A, S, end=True), batch, np.array(0.4), None, None)
    yield Case("own", rng.normal(size=(B, S, A)), _rows(rng, B, S, A, S, end=True), number, batch, None, None)
    yield Case("mask", rng.normal(size=(B, S, A)), _rows(rng, S, A, S, end=True), batch, batch, mask, None)
    keep = rng.random((S * A, S)) < 0.6
    offsets, columns = np.concatenate([[0], np.cumsum(keep.sum(1))]), np.nonzero(keep)[1]
    values = rng.uniform(0.05, 0.2, size=len(columns))
    yield Case("sparse", rng.normal(size=(B, S, A)), values, batch, number, mask, (offsets, columns))
