"""A soft-optimal policy as a differentiable layer of PyTorch.

    policy, q, value = bilevel.torch.soft_policy(reward, transitions, discount=0.9, temperature=0.1)
    loss(policy).backward()          # gradients in reward, transitions, discount, temperature

Forward and backward are one Pullback each: the implicit gradient, exact to rounding, not unrolled iterations.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union

import numpy as np
import torch

from bilevel import _layer
from bilevel.client import Client
from bilevel.mdp import Csr


class SoftPolicy(NamedTuple):
    """The follower's answer; policy and q are 0 where an action is not available."""

    policy: torch.Tensor  # pi, [..., S, A]
    q: torch.Tensor  # Q, [..., S, A]
    value: torch.Tensor  # V, [..., S]


def _numpy(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


class _SoftPolicy(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        client: Client,
        structure: _layer.Structure,
        start: Any,
        reward: torch.Tensor,
        transitions: torch.Tensor,
        discount: torch.Tensor,
        temperature: torch.Tensor,
    ) -> Any:
        inputs = (reward, transitions, discount, temperature)
        r, P, gamma, tau = map(_numpy, inputs)
        answer = _layer.forward(client, structure, r, P, gamma, tau, start)
        outputs = tuple(torch.as_tensor(part).to(reward) for part in answer)
        ctx.client, ctx.structure, ctx.value = client, structure, answer.value
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(True)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        inputs = ctx.saved_tensors
        r, P, gamma, tau = map(_numpy, inputs)
        flow = _layer.Answer(*map(_numpy, cotangents))
        gradients = _layer.backward(
            ctx.client, ctx.structure, r, P, gamma, tau, ctx.value, flow, transition_gradient=ctx.needs_input_grad[4]
        )
        back = [
            torch.as_tensor(gradient).to(argument) if needed else None
            for gradient, argument, needed in zip(gradients, inputs, ctx.needs_input_grad[3:])
        ]
        return (None, None, None, *back)


def soft_policy(
    reward: torch.Tensor,
    transitions: Union[torch.Tensor, Csr],
    discount: Union[float, torch.Tensor],
    temperature: Union[float, torch.Tensor],
    *,
    available_actions: Any = None,
    start: Optional[torch.Tensor] = None,
    client: Optional[Client] = None,
) -> SoftPolicy:
    """The soft-optimal policy, Q and V of an entropy-regularised MDP, differentiable in the first four arguments.

    reward: [..., S, A]; leading dimensions are a batch of followers. Numbers cross in double precision and come back in
    the dtype and on the device of reward.
    transitions: [S, A, S] shared by the batch, or [..., S, A, S]; or sparse: a bilevel.Csr whose values are a tensor of
    shape [entries] or [..., entries]. What a row lacks to one is the probability that the episode ends. Entries are
    differentiated as independent numbers.
    discount, temperature: numbers, or tensors of shape () or of the batch.
    available_actions: [S, A], true where the action exists; elsewhere policy and q are 0 and have no gradient.
    start: values [..., S] of a nearby problem, to start from; the answer stays the same within the solver's tolerance.
    client: default, that of $BILEVEL_SERVER, else of 127.0.0.1:50051.

    Raises bilevel.BilevelError, and bilevel.NotConverged when a limit ended the solve; second derivatives are refused by PyTorch.
    """
    if not reward.is_floating_point():
        raise TypeError(f"reward has dtype {reward.dtype}; must be a floating-point tensor")
    mask = None if available_actions is None else _numpy(available_actions).astype(bool)
    if isinstance(transitions, Csr):
        structure = _layer.Structure(_numpy(transitions.offsets), _numpy(transitions.columns), mask)
        entries: Any = transitions.values
    else:
        structure = _layer.Structure(available_actions=mask)
        entries = transitions
    return SoftPolicy(
        *_SoftPolicy.apply(
            client or _layer.default_client(),
            structure,
            None if start is None else _numpy(start),
            reward,
            torch.as_tensor(entries),
            torch.as_tensor(discount, dtype=torch.float64),
            torch.as_tensor(temperature, dtype=torch.float64),
        )
    )


class SoftPolicyLayer(torch.nn.Module):
    """soft_policy that starts each solve from the values of the call before, while shapes stay the same."""

    def __init__(self, client: Optional[Client] = None) -> None:
        super().__init__()
        self._client = client
        self._value: Optional[torch.Tensor] = None

    def forward(
        self,
        reward: torch.Tensor,
        transitions: Union[torch.Tensor, Csr],
        discount: Union[float, torch.Tensor],
        temperature: Union[float, torch.Tensor],
        available_actions: Any = None,
    ) -> SoftPolicy:
        """As soft_policy."""
        start = self._value if self._value is not None and self._value.shape == reward.shape[:-1] else None
        answer = soft_policy(
            reward,
            transitions,
            discount,
            temperature,
            available_actions=available_actions,
            start=start,
            client=self._client,
        )
        value = answer.value.detach().double()
        self._value = value if bool(torch.isfinite(value).all()) else None
        return answer
