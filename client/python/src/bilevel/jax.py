"""A soft-optimal policy as a differentiable function of JAX.

    jax.config.update("jax_enable_x64", True)
    policy, q, value = bilevel.jax.soft_policy(reward, transitions, 0.9, 0.1)
    jax.grad(lambda r: loss(bilevel.jax.soft_policy(r, transitions, 0.9, 0.1).policy))(reward)

Works under jit and vmap, where the batch becomes one request. Numbers cross in double precision; without
jax_enable_x64 they come back as 32-bit numbers.
"""

from __future__ import annotations

import functools
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import jax
import jax.numpy as jnp
import numpy as np

from bilevel import _layer
from bilevel.client import Client
from bilevel.mdp import Csr


class SoftPolicy(NamedTuple):
    """The follower's answer; policy and q are 0 where an action is not available."""

    policy: jax.Array  # pi, [..., S, A]
    q: jax.Array  # Q, [..., S, A]
    value: jax.Array  # V, [..., S]


class _Static:
    """What is not differentiated; compared by identity, so that jit may key on it."""

    def __init__(self, client: Client, structure: _layer.Structure) -> None:
        self.client = client
        self.structure = structure


def _spread(structure: _layer.Structure, arguments: Sequence[Any]) -> Tuple[List[Any], List[Tuple[int, ...]]]:
    """Reward, transitions, discount and temperature with the whole batch in front, or none of it.

    vmap puts its dimension in front of every argument, so transitions shared by an inner batch arrive with a part of
    the batch's dimensions. Also returns the axes that were spread.
    """
    lead = arguments[0].shape[:-2]
    own = (2, 1 if structure.sparse else 3, 0, 0)
    spread: List[Any] = []
    axes: List[Tuple[int, ...]] = []
    for array, keep in zip(arguments, own):
        before, core = array.shape[: array.ndim - keep], array.shape[array.ndim - keep :]
        if before in ((), lead):
            spread.append(array)
            axes.append(())
        else:
            added = len(lead) - len(before)
            spread.append(np.broadcast_to(array.reshape(before + (1,) * added + core), lead + core))
            axes.append(tuple(range(len(before), len(lead))))
    return spread, axes


def _forward(static: _Static, reward: Any, transitions: Any, discount: Any, temperature: Any) -> SoftPolicy:
    def call(*arguments: Any) -> Any:
        inputs, _ = _spread(static.structure, [np.asarray(array) for array in arguments])
        answer = _layer.forward(static.client, static.structure, *inputs)
        return tuple(part.astype(reward.dtype) for part in answer)

    pair = jax.ShapeDtypeStruct(reward.shape, reward.dtype)
    shapes = (pair, pair, jax.ShapeDtypeStruct(reward.shape[:-1], reward.dtype))
    return SoftPolicy(
        *jax.pure_callback(call, shapes, reward, transitions, discount, temperature, vmap_method="broadcast_all")
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _soft_policy(static: _Static, reward: Any, transitions: Any, discount: Any, temperature: Any) -> SoftPolicy:
    return _forward(static, reward, transitions, discount, temperature)


def _soft_policy_fwd(static: _Static, reward: Any, transitions: Any, discount: Any, temperature: Any) -> Any:
    answer = _forward(static, reward, transitions, discount, temperature)
    return answer, (reward, transitions, discount, temperature, answer.value)


def _soft_policy_bwd(static: _Static, saved: Any, cotangents: SoftPolicy) -> Any:
    *inputs, value = saved

    def call(*arguments: Any) -> Any:
        arrays = [np.asarray(array) for array in arguments]
        spread, axes = _spread(static.structure, arrays[:4])
        r, P, gamma, tau = spread
        flow = _layer.Answer(*arrays[5:])
        parts = list(_layer.backward(static.client, static.structure, r, P, gamma, tau, arrays[4], flow))
        return tuple(
            np.asarray(np.sum(part, axis=axis) if axis else part).astype(like.dtype)  # type: ignore[arg-type]
            for part, axis, like in zip(parts, axes, inputs)
        )

    shapes = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in inputs)
    return jax.pure_callback(call, shapes, *inputs, value, *cotangents, vmap_method="broadcast_all")


_soft_policy.defvjp(_soft_policy_fwd, _soft_policy_bwd)


def soft_policy(
    reward: Any,
    transitions: Any,
    discount: Any,
    temperature: Any,
    *,
    available_actions: Any = None,
    client: Optional[Client] = None,
) -> SoftPolicy:
    """The soft-optimal policy, Q and V of an entropy-regularised MDP, differentiable in the first four arguments.

    Shapes and meanings are those of bilevel.torch.soft_policy: reward [..., S, A]; transitions [S, A, S],
    [..., S, A, S] or a bilevel.Csr whose values are [entries] or [..., entries]; discount and temperature () or [...];
    available_actions a concrete [S, A].
    """
    mask = None if available_actions is None else np.asarray(available_actions, dtype=bool)
    if isinstance(transitions, Csr):
        structure = _layer.Structure(np.asarray(transitions.offsets), np.asarray(transitions.columns), mask)
        entries = transitions.values
    else:
        structure = _layer.Structure(available_actions=mask)
        entries = transitions
    static = _Static(client or _layer.default_client(), structure)
    arrays = (jnp.asarray(array, dtype=float) for array in (reward, entries, discount, temperature))
    return SoftPolicy(*_soft_policy(static, *arrays))
