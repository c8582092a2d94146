"""The soft-optimal policy as a function of arrays, forward and backward: what bilevel.torch and bilevel.jax share."""

from __future__ import annotations

import dataclasses
import os
import threading
from typing import Any, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from bilevel import v1
from bilevel.arrays import FloatArray, from_array, to_array
from bilevel.client import Client
from bilevel.errors import NotConverged

# Row sums nearer to one than this end no episode; 32-bit sums are renormalised by the server.
_ROUNDING = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-6}
# Share of the message limit that a request is filled to, since estimates leave out names and lengths.
_FILL = 0.9

_default: Optional[Client] = None
_default_lock = threading.Lock()


def default_client() -> Client:
    """The client of layers that are given none: of $BILEVEL_SERVER, else of 127.0.0.1:50051."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Client(os.environ.get("BILEVEL_SERVER", "127.0.0.1:50051"))
        return _default


class Answer(NamedTuple):
    """The follower's answer; q is 0 where an action is not available."""

    policy: FloatArray  # [..., S, A]
    q: FloatArray  # [..., S, A]
    value: FloatArray  # [..., S]


class Gradients(NamedTuple):
    """Of sum(cotangent * answer), each with the shape of its argument, transitions shared or not."""

    reward: FloatArray
    transitions: Optional[FloatArray]
    discount: FloatArray
    temperature: FloatArray


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """What is not differentiated: how transitions are stored, and the mask."""

    # Of sparse transitions: [S * A + 1] and [entries]; None for dense ones.
    offsets: Optional[npt.NDArray[Any]] = None
    columns: Optional[npt.NDArray[Any]] = None
    available_actions: Optional[npt.NDArray[np.bool_]] = None  # [S, A]

    @property
    def sparse(self) -> bool:
        return self.offsets is not None


class _Batch:
    """Arguments brought to one leading batch dimension."""

    def __init__(self, structure: Structure, reward: Any, transitions: Any, discount: Any, temperature: Any) -> None:
        reward = np.asarray(reward)
        if reward.ndim < 2:
            raise ValueError(f"reward has shape {reward.shape}; must be [..., S, A]")
        self.structure = structure
        self.lead = reward.shape[:-2]
        self.states, self.actions = reward.shape[-2:]
        self.reward = reward.reshape(-1, self.states, self.actions)
        self.size = self.reward.shape[0]
        self.transitions = self._transitions(np.asarray(transitions))
        self.discount = self._per_context("discount", discount)
        self.temperature = self._per_context("temperature", temperature)
        mask = structure.available_actions
        if mask is not None and mask.shape != (self.states, self.actions):
            raise ValueError(f"available_actions have shape {mask.shape}; must be [S, A] = {reward.shape[-2:]}")

    def _transitions(self, transitions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if transitions.dtype not in _ROUNDING:
            transitions = transitions.astype(np.float64)
        if self.structure.sparse:
            assert self.structure.columns is not None
            own: Tuple[int, ...] = (len(self.structure.columns),)
        else:
            own = (self.states, self.actions, self.states)
        if transitions.shape == own:
            self.shared = True
            return transitions.reshape(1, *own)
        if transitions.shape != self.lead + own:
            raise ValueError(f"transitions have shape {transitions.shape}; must be {own} or {self.lead + own}")
        self.shared = False
        return transitions.reshape(-1, *own)

    def _per_context(self, name: str, value: Any) -> FloatArray:
        array = np.asarray(value, dtype=np.float64)
        if array.shape not in ((), self.lead):
            raise ValueError(f"{name} has shape {array.shape}; must be () or {self.lead}")
        return np.broadcast_to(array, self.lead).reshape(-1)

    def _row_sums(self, transitions: npt.NDArray[Any]) -> FloatArray:
        if not self.structure.sparse:
            return np.asarray(transitions.sum(axis=-1, dtype=np.float64))
        offsets = np.asarray(self.structure.offsets, dtype=np.int64)
        lengths = np.diff(offsets)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        sums = np.bincount(rows, weights=transitions.astype(np.float64), minlength=len(lengths))
        return np.asarray(sums, dtype=np.float64).reshape(self.states, self.actions)

    def environment(self, c: int) -> Any:
        transitions = self.transitions[0 if self.shared else c]
        message = v1.Environment(num_states=self.states, num_actions=self.actions)
        if self.structure.offsets is not None and self.structure.columns is not None:
            message.transitions.sparse.rows = self.states * self.actions
            message.transitions.sparse.cols = self.states
            message.transitions.sparse.offsets.CopyFrom(to_array(self.structure.offsets, "u8"))
            message.transitions.sparse.columns.CopyFrom(to_array(self.structure.columns, "u4"))
            message.transitions.sparse.values.CopyFrom(to_array(transitions))
        else:
            message.transitions.dense.CopyFrom(to_array(transitions))
        rest = 1 - self._row_sums(transitions)
        rest[np.abs(rest) <= _ROUNDING[transitions.dtype]] = 0
        mask = self.structure.available_actions
        if mask is not None:
            rest[~mask] = 0
            message.available_actions.CopyFrom(to_array(mask, "u1"))
        if rest.any():
            # Where a row sums to more than one, the server says so.
            message.termination_probability.CopyFrom(to_array(np.maximum(rest, 0.0)))
        return message

    def bytes_of_context(self) -> int:
        pairs = self.states * self.actions
        # As many bytes come back for the gradient in double precision as go out at most.
        stored = 8 * self.transitions[0].size
        if self.structure.sparse:
            stored += 8 * pairs + 4 * self.transitions.shape[1]
        return int(stored + 8 * (6 * pairs + 3 * self.states) + 1024)

    def problem(self, contexts: range) -> Any:
        message = v1.Problem(sense=v1.SENSE_MINIMIZE)
        shared = self.environment(0) if self.shared else None
        for c in contexts:
            message.contexts.add(
                environment=shared if shared is not None else self.environment(c),
                discount=self.discount[c],
                temperature=self.temperature[c],
                reward=v1.Reward(base=to_array(self.reward[c].astype(np.float64))),
            )
        return message


def _chunks(client: Client, batch: _Batch) -> Sequence[range]:
    limit = client.message_bytes()
    each = max(1, int(_FILL * limit / batch.bytes_of_context()))
    return [range(first, min(first + each, batch.size)) for first in range(0, batch.size, each)]


def _solved(client: Client, request: Any) -> Any:
    response = client.call("Pullback", request)
    if response.termination.reason != v1.Termination.REASON_CONVERGED:
        raise NotConverged(response.termination.detail or v1.Termination.Reason.Name(response.termination.reason))
    return response


def forward(
    client: Client,
    structure: Structure,
    reward: Any,
    transitions: Any,
    discount: Any,
    temperature: Any,
    start: Optional[npt.ArrayLike] = None,
) -> Answer:
    """The answer for each context of the batch; `start`: values [..., S] of a nearby problem."""
    batch = _Batch(structure, reward, transitions, discount, temperature)
    pairs = (batch.size, batch.states, batch.actions)
    policy, q, value = np.empty(pairs), np.empty(pairs), np.empty(pairs[:2])
    starts = None if start is None else np.asarray(start, dtype=np.float64).reshape(value.shape)
    for chunk in _chunks(client, batch):
        request = v1.PullbackRequest(problem=batch.problem(chunk))
        if starts is not None:
            for c in chunk:
                request.warm_start.contexts.add(value=to_array(starts[c]))
        response = _solved(client, request)
        for c, context in zip(chunk, response.contexts):
            policy[c] = from_array(context.policy)
            q[c] = from_array(context.q)
            value[c] = from_array(context.value)
    if structure.available_actions is not None:
        q[:, ~structure.available_actions] = 0.0
    whole = batch.lead + pairs[1:]
    return Answer(policy.reshape(whole), q.reshape(whole), value.reshape(whole[:-1]))


def backward(
    client: Client,
    structure: Structure,
    reward: Any,
    transitions: Any,
    discount: Any,
    temperature: Any,
    value: npt.ArrayLike,
    cotangents: Answer,
    transition_gradient: bool = True,
) -> Gradients:
    """Gradients of sum(cotangents * answer); `value` is the answer's, from which the solve starts."""
    batch = _Batch(structure, reward, transitions, discount, temperature)
    pairs = (batch.size, batch.states, batch.actions)
    given = [np.asarray(part, dtype=np.float64) for part in cotangents]
    to_policy, to_q = given[0].reshape(pairs), given[1].reshape(pairs)
    to_value, values = given[2].reshape(pairs[:2]), np.asarray(value, dtype=np.float64).reshape(pairs[:2])
    mask = structure.available_actions
    if mask is not None:
        to_policy, to_q = np.where(mask, to_policy, 0.0), np.where(mask, to_q, 0.0)
    to_reward = np.empty(pairs)
    to_transitions = np.zeros(batch.transitions.shape) if transition_gradient else None
    to_discount, to_temperature = np.empty(batch.size), np.empty(batch.size)
    for chunk in _chunks(client, batch):
        request = v1.PullbackRequest(problem=batch.problem(chunk), return_transition_gradient=transition_gradient)
        for c in chunk:
            request.cotangents.add(policy=to_array(to_policy[c]), q=to_array(to_q[c]), value=to_array(to_value[c]))
            request.warm_start.contexts.add(value=to_array(values[c]))
        response = _solved(client, request)
        for c, gradient in zip(chunk, response.gradients):
            to_reward[c] = from_array(gradient.reward)
            to_discount[c] = gradient.discount
            to_temperature[c] = gradient.temperature
            if to_transitions is not None:
                to_transitions[0 if batch.shared else c] += from_array(gradient.transitions)
    return Gradients(
        to_reward.reshape(np.shape(reward)),
        None if to_transitions is None else to_transitions.reshape(np.shape(transitions)),
        to_discount.sum() if np.ndim(discount) == 0 else to_discount.reshape(batch.lead),
        to_temperature.sum() if np.ndim(temperature) == 0 else to_temperature.reshape(batch.lead),
    )
