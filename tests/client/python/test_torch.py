"""bilevel.torch: gradcheck, batches, masks, dtypes, warm starts."""

import numpy as np
import pytest
from layer_cases import cases

import bilevel
from bilevel.arrays import from_array

torch = pytest.importorskip("torch")
import bilevel.torch as layer  # noqa: E402


def tensor(array, grad=True):
    return torch.tensor(array, dtype=torch.float64, requires_grad=grad)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("index", range(5))
def test_gradcheck(client, seed, index):
    case = list(cases(seed))[index]
    inputs = tuple(map(tensor, (case.reward, case.transitions, case.discount, case.temperature)))
    assert torch.autograd.gradcheck(case.answer(layer, client), inputs), case.name


def test_masked_actions_have_neither_probability_nor_gradient(client):
    case = next(c for c in cases(4) if c.name == "mask")
    reward = tensor(case.reward)
    answer = layer.soft_policy(
        reward, tensor(case.transitions, False), 0.9, 0.4, available_actions=case.mask, client=client
    )
    (answer.policy**2).sum().backward(retain_graph=True)
    away = ~torch.tensor(case.mask)
    assert (answer.policy[:, away] == 0).all() and (answer.q[:, away] == 0).all()
    assert (reward.grad[:, away] == 0).all() and (reward.grad[:, ~away] != 0).any()


def test_single_precision_in_and_out(client):
    case = next(c for c in cases(5) if c.name == "own")
    rows = case.transitions / case.transitions.sum(-1, keepdims=True)  # no termination
    single = layer.soft_policy(
        torch.tensor(case.reward, dtype=torch.float32), torch.tensor(rows, dtype=torch.float32), 0.9, 0.4, client=client
    )
    double = layer.soft_policy(tensor(case.reward), tensor(rows), 0.9, 0.4, client=client)
    assert single.policy.dtype == torch.float32
    assert torch.allclose(single.policy.double(), double.policy, atol=1e-5)


def test_batches_larger_than_a_message_are_split(client):
    rng = np.random.default_rng(0)
    B, S, A = 12, 100, 5  # 400 kB each, 4.8 MB together; the limit is 4 MiB
    reward = tensor(rng.normal(size=(B, S, A)))
    P = tensor(rng.dirichlet(np.ones(S), size=(S, A)))
    answer = layer.soft_policy(reward, P, 0.9, 0.5, client=client)
    answer.value.sum().backward()
    alone = layer.soft_policy(reward[7].detach(), P.detach(), 0.9, 0.5, client=client)
    assert torch.allclose(answer.policy[7], alone.policy, atol=1e-12)
    # d sum V / d r = discounted visits: they sum to S / (1 - gamma) for each follower.
    assert torch.allclose(reward.grad.sum((1, 2)), torch.full((B,), S / 0.1, dtype=torch.float64))


def test_the_module_starts_from_its_last_values(client, monkeypatch):
    case = next(iter(cases(6)))
    module = layer.SoftPolicyLayer(client)
    one = module(tensor(case.reward), tensor(case.transitions), 0.9, 0.4)
    two = module(tensor(case.reward + 1e-3), tensor(case.transitions), 0.9, 0.4)
    cold = layer.soft_policy(tensor(case.reward + 1e-3), tensor(case.transitions), 0.9, 0.4, client=client)
    assert torch.allclose(two.value, cold.value, atol=1e-12)
    assert not torch.equal(one.value, two.value)
    starts = []
    monkeypatch.setattr(
        client,
        "call",
        lambda name, request: starts.append(request.warm_start) or type(client).call(client, name, request),
    )
    module(tensor(case.reward), tensor(case.transitions), 0.9, 0.4)
    assert from_array(starts[0].contexts[0].value).tolist() == two.value.detach().numpy().tolist()


def test_an_unfinished_solve_is_no_answer(client):
    # A ring of 3000 states that hardly mixes, with no time to solve it.
    S = 3000
    ring = bilevel.Csr(np.arange(S + 1), (np.arange(S) + 1) % S, torch.ones(S, dtype=torch.float64), (S, S))
    reward = torch.linspace(0, 1, S, dtype=torch.float64)[:, None]
    with bilevel.Client(client.target, timeout=0.25) as hurried:
        with pytest.raises(bilevel.NotConverged):
            layer.soft_policy(reward, ring, 1 - 1e-8, 0.1, client=hurried)


def test_integers_are_refused(client):
    with pytest.raises(TypeError, match="floating-point"):
        layer.soft_policy(torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2, 3), 0.9, 0.4, client=client)


def test_single_precision_batches_come_back_in_double(client):
    rng = np.random.default_rng(0)
    P = torch.tensor(rng.dirichlet(np.ones(60), size=(30, 60, 5)), dtype=torch.float32, requires_grad=True)
    reward = torch.zeros(30, 60, 5, dtype=torch.float32)
    layer.soft_policy(reward, P, 0.9, 0.5, client=client).value.sum().backward()
    assert torch.isfinite(P.grad).all()


def test_shapes_that_do_not_fit_are_named(client):
    with pytest.raises(ValueError, match="transitions have shape"):
        layer.soft_policy(torch.zeros(3, 2), torch.zeros(2, 3, 3), 0.9, 0.4, client=client)
    with pytest.raises(ValueError, match="discount has shape"):
        layer.soft_policy(torch.zeros(3, 2), torch.zeros(3, 2, 3), torch.zeros(4), 0.4, client=client)
    with pytest.raises(bilevel.InvalidRequest, match="temperature"):
        layer.soft_policy(torch.zeros(3, 2), torch.zeros(3, 2, 3), 0.9, 0.0, client=client)


def test_second_derivatives_are_refused(client):
    case = next(iter(cases(7)))
    reward = tensor(case.reward)
    value = layer.soft_policy(reward, tensor(case.transitions, False), 0.9, 0.4, client=client).value.sum()
    (gradient,) = torch.autograd.grad(value, reward, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()
