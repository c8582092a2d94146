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
    """What is not differentiated. The same one for the same client and structure, so that jit compiles once."""

    def __init__(self, client: Client, structure: _layer.Structure) -> None:
        self.client = client
        self.structure = structure


@functools.lru_cache(maxsize=64)
def _static_of(
    client: Client, offsets: Optional[bytes], columns: Optional[bytes], mask: Optional[bytes], A: int
) -> _Static:
    def array(data: Optional[bytes], dtype: Any) -> Any:
        return None if data is None else np.frombuffer(data, dtype)

    available = array(mask, np.bool_)
    if available is not None:
        available = available.reshape(-1, A)
    return _Static(client, _layer.Structure(array(offsets, np.uint64), array(columns, np.uint32), available))


def _bytes(array: Any, dtype: Any) -> Optional[bytes]:
    return None if array is None else np.ascontiguousarray(array, dtype=dtype).tobytes()


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


@functools.partial(jax.jit, static_argnums=0)
def _forward(static: _Static, reward: Any, transitions: Any, discount: Any, temperature: Any, start: Any) -> SoftPolicy:
    def call(*arguments: Any) -> Any:
        arrays = [np.asarray(array) for array in arguments]
        (r, P, gamma, tau), _ = _spread(static.structure, arrays[:4])
        answer = _layer.forward(static.client, static.structure, r, P, gamma, tau, arrays[4])
        return tuple(part.astype(reward.dtype) for part in answer)

    pair = jax.ShapeDtypeStruct(reward.shape, reward.dtype)
    shapes = (pair, pair, jax.ShapeDtypeStruct(reward.shape[:-1], reward.dtype))
    inputs = (reward, transitions, discount, temperature, start)
    return SoftPolicy(*jax.pure_callback(call, shapes, *inputs, vmap_method="broadcast_all"))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _backward(static: _Static, wanted: bool, inputs: Any, value: Any, cotangents: Any) -> Any:
    """Gradients of the four inputs; zeros for transitions that are not wanted, which are not sent either."""

    def call(*arguments: Any) -> Any:
        arrays = [np.asarray(array) for array in arguments]
        (r, P, gamma, tau), axes = _spread(static.structure, arrays[:4])
        flow = _layer.Answer(*arrays[5:])
        parts = list(_layer.backward(static.client, static.structure, r, P, gamma, tau, arrays[4], flow, wanted))
        return tuple(
            np.asarray(np.sum(part, axis=axis) if axis else part).astype(like.dtype)
            for part, axis, like in zip(parts, axes, inputs)
            if part is not None
        )

    chosen = [array for i, array in enumerate(inputs) if wanted or i != 1]
    shapes = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in chosen)
    found = list(jax.pure_callback(call, shapes, *inputs, value, *cotangents, vmap_method="broadcast_all"))
    if not wanted:
        found.insert(1, jnp.zeros_like(inputs[1]))
    return tuple(found)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _soft_policy(
    static: _Static, reward: Any, transitions: Any, discount: Any, temperature: Any, start: Any
) -> SoftPolicy:
    return SoftPolicy(*_forward(static, reward, transitions, discount, temperature, start))


def _soft_policy_fwd(static: _Static, *arguments: Any) -> Any:
    values = tuple(argument.value for argument in arguments)
    answer = _forward(static, *values)
    # Whether transitions are differentiated: as structure, which stays known under jit.
    wanted = () if arguments[1].perturbed else None
    return answer, (values[:4], wanted, answer.value)


def _soft_policy_bwd(static: _Static, saved: Any, cotangents: Any) -> Any:
    inputs, wanted, value = saved
    dense = tuple(
        jnp.zeros(part.shape, part.dtype) if isinstance(part, jax.custom_derivatives.SymbolicZero) else part
        for part in cotangents
    )
    return (*_backward(static, wanted is not None, inputs, value, dense), jnp.zeros_like(value))


_soft_policy.defvjp(_soft_policy_fwd, _soft_policy_bwd, symbolic_zeros=True)


def soft_policy(
    reward: Any,
    transitions: Any,
    discount: Any,
    temperature: Any,
    *,
    available_actions: Any = None,
    start: Any = None,
    client: Optional[Client] = None,
) -> SoftPolicy:
    """The soft-optimal policy, Q and V of an entropy-regularised MDP, differentiable in the first four arguments.

    Shapes and meanings are those of bilevel.torch.soft_policy: reward [..., S, A]; transitions [S, A, S],
    [..., S, A, S] or a bilevel.Csr whose values are [entries] or [..., entries]; discount and temperature () or [...];
    available_actions a concrete [S, A]; start values [..., S] of a nearby problem, which have no gradient. Errors of the
    service reach the caller as jax.errors.JaxRuntimeError with the text of the bilevel.BilevelError.
    """
    sparse = isinstance(transitions, Csr)
    entries = transitions.values if sparse else transitions
    reward = jnp.asarray(reward, dtype=float)
    static = _static_of(
        client or _layer.default_client(),
        _bytes(transitions.offsets if sparse else None, np.uint64),
        _bytes(transitions.columns if sparse else None, np.uint32),
        _bytes(available_actions, np.bool_),
        reward.shape[-1],
    )
    if start is None:
        start = jnp.zeros(reward.shape[:-1], reward.dtype)
    others = (jnp.asarray(array, dtype=float) for array in (entries, discount, temperature, start))
    return SoftPolicy(*_soft_policy(static, reward, *others))
