"""bilevel.jax: check_grads, jit, vmap, masks."""

import numpy as np
import pytest
from layer_cases import cases

import bilevel

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import bilevel.jax as layer  # noqa: E402


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("index", range(5))
def test_check_grads(client, seed, index):
    case = list(cases(seed))[index]
    inputs = tuple(map(jnp.asarray, (case.reward, case.transitions, case.discount, case.temperature)))
    check_grads(case.answer(layer, client), inputs, order=1, modes=["rev"])


def test_jit_and_vmap_agree_with_the_batch(client):
    case = next(c for c in cases(3) if c.name == "shared")

    def loss(reward):
        return (layer.soft_policy(reward, case.transitions, 0.9, 0.4, client=client).policy ** 2).sum()

    reward = jnp.asarray(case.reward)
    whole = jax.jit(jax.grad(loss))(reward)
    assert np.allclose(jax.vmap(jax.grad(loss))(reward), whole, atol=1e-12)
    # A batch of batches: vmap's dimension stands before the shared transitions.
    twice = jnp.stack([reward, reward + 0.1])
    inner = jax.vmap(jax.grad(loss))(twice)
    assert np.allclose(inner[0], whole, atol=1e-12)
    assert np.allclose(inner[1], jax.grad(loss)(twice[1]), atol=1e-12)


def test_vmap_over_rewards_sums_what_is_shared(client):
    case = next(c for c in cases(4) if c.name == "shared")

    def total(transitions):
        one = jax.vmap(lambda reward: layer.soft_policy(reward, transitions, 0.9, 0.4, client=client).value.sum())
        return one(jnp.asarray(case.reward)).sum()

    def batch(transitions):
        return layer.soft_policy(case.reward, transitions, 0.9, 0.4, client=client).value.sum()

    P = jnp.asarray(case.transitions)
    assert np.allclose(jax.grad(total)(P), jax.grad(batch)(P), atol=1e-11)


def test_repeated_gradients_reuse_what_was_compiled(client):
    case = next(c for c in cases(5) if c.name == "mask")

    def loss(reward):
        answer = layer.soft_policy(
            reward, case.transitions, 0.9, 0.4, available_actions=case.mask, start=np.zeros((2, 4)), client=client
        )
        return (answer.policy**2).sum()

    jax.grad(loss)(jnp.asarray(case.reward))
    before = layer._forward._cache_size(), layer._backward._cache_size()
    for i in range(5):
        jax.grad(loss)(jnp.asarray(case.reward) + i)
    assert (layer._forward._cache_size(), layer._backward._cache_size()) == before
