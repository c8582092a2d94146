"""Problems: the command line's JSON, environments from tables, and what the server makes of them."""

import dataclasses

import numpy as np
import pytest
from two_state import two_state

import bilevel

EXAMPLES = ["two-state", "four-rooms", "synthetic", "policy-matching"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_json_is_the_command_lines_to_the_byte(cli, example):
    text = cli("example", example)
    assert bilevel.Problem.from_json(text).to_json() == text


@pytest.mark.parametrize("example", EXAMPLES)
def test_problems_survive_the_way_through_data_classes(cli, client, example):
    read = bilevel.Problem.from_json(cli("example", example))
    rebuilt = dataclasses.replace(read, contexts=[dataclasses.replace(c, mdp=remade(c.mdp)) for c in read.contexts])
    assert rebuilt.to_proto() is not read.to_proto()
    one, two = (client.evaluate_hypergradient(problem) for problem in (read, rebuilt))
    assert one.objective == two.objective
    assert (one.gradient == two.gradient).all()


def remade(mdp):
    return dataclasses.replace(mdp)


def test_the_command_line_reads_what_python_writes(cli, server):
    text = two_state().to_json()
    out = cli("--server", server.address, "hypergradient", "-", input=text)
    assert "objective" in out and "0.5" in out


def test_what_json_leaves_out_stays_out(client):
    problem = bilevel.Problem.from_json(two_state().to_json().replace('"discount": 0.5,', ""))
    with pytest.raises(bilevel.InvalidRequest) as error:
        client.solve(problem)
    assert error.value.field == "problem.contexts[0].discount"
    with pytest.raises(ValueError, match="discuont"):
        bilevel.Problem.from_json('{"contexts": [{"discuont": 0.5}]}')


def test_dense_sparse_and_dictionary_are_the_same_environment(client, rng):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    S, A = 6, 3
    P = rng.dirichlet(np.ones(S), size=(S, A)) * (rng.random((S, A, S)) < 0.6)
    P[..., 0] += 1 - P.sum(-1)
    reward = bilevel.Reward(base=rng.normal(size=(S, A)))
    table = {s: {a: {t: P[s, a, t] for t in np.flatnonzero(P[s, a])} for a in range(A)} for s in range(S)}
    values = [
        client.solve(bilevel.Problem([bilevel.Context(mdp, 0.9, 0.1, reward)]))[0].value
        for mdp in (
            bilevel.Mdp(P),
            bilevel.Mdp(scipy_sparse.csr_matrix(P.reshape(S * A, S)), num_actions=A),
            bilevel.Mdp.from_dict(table),
            bilevel.Mdp.from_json(bilevel.Mdp(P).to_json()),
        )
    ]
    for value in values[1:]:
        assert value == pytest.approx(values[0], abs=1e-12)


def test_dictionaries_bring_masks_and_termination(client):
    # From 0: stay, or leave (the episode ends). In 1 there is only one action.
    mdp = bilevel.Mdp.from_dict({0: {0: {0: 0.5, 1: 0.5}, 1: {}}, 1: {0: {0: 1.0}}})
    assert mdp.available_actions.tolist() == [[True, True], [True, False]]
    assert mdp.termination_probability.tolist() == [[0, 1], [0, 0]]
    (answer,) = client.solve(bilevel.Problem([bilevel.Context(mdp, 0.9, 0.1)]), return_q=True)
    assert answer.policy[1].tolist() == [1, 0]
    assert np.isnan(answer.q[1, 1])
    assert answer.q[0, 1] == pytest.approx(0)
    with pytest.raises(ValueError, match="leads to 7"):
        bilevel.Mdp.from_dict({0: {0: {7: 1.0}}})


@pytest.mark.parametrize("name", ["FrozenLake", "CliffWalking", "Taxi"])
def test_gymnasium_tables(client, name):
    gymnasium = pytest.importorskip("gymnasium")
    env = gymnasium.make(name)  # the newest version
    mdp = bilevel.Mdp.from_gymnasium(env)
    assert (mdp.num_states, mdp.num_actions) == (env.observation_space.n, env.action_space.n)
    (answer,) = client.solve(
        bilevel.Problem([bilevel.Context(mdp, 0.99, 1e-3, bilevel.Reward(base=mdp.reward))]), return_q=True
    )
    # Value iteration on the environment's own table, temperature 0: equal up to the entropy that 1e-3 pays.
    table, V = env.unwrapped.P, np.zeros(mdp.num_states)
    for _ in range(2000):
        V = np.array(
            [
                max(sum(p * (r + 0.99 * V[t] * (not end)) for p, t, r, end in table[s][a]) for a in table[s])
                for s in range(mdp.num_states)
            ]
        )
    slack = 1e-3 * np.log(mdp.num_actions) / (1 - 0.99)
    assert (answer.value >= V - 1e-8).all() and (answer.value <= V + slack + 1e-8).all()


def test_mistakes_are_named_before_anything_is_sent():
    with pytest.raises(ValueError, match="must be \\[S, A, S\\]"):
        bilevel.Mdp(np.ones((2, 2)))
    with pytest.raises(ValueError, match="sense is 'max'"):
        bilevel.Problem([], sense="max").to_proto()
    with pytest.raises(ValueError, match="map is 'logit'"):
        bilevel.ParameterGroup("logit", 1).to_proto()
    with pytest.raises(TypeError, match="map is 13; must be a name"):
        bilevel.ParameterGroup(13, "softmax").to_proto()
    with pytest.raises(TypeError, match=r"size is \[-1, -1\]; must be a whole number"):
        bilevel.Box([-1, -1], [1, 1]).to_proto()
    with pytest.raises(TypeError, match=r"penalties\[0\] is 0.1; must be a SquaredL2 or L1"):
        bilevel.Problem([], penalties=[0.1]).to_proto()
    with pytest.raises(TypeError, match=r"objective\[0\] is Reward\(.*; must be a LeaderReturn or "):
        bilevel.Context(bilevel.Mdp(np.ones((1, 1, 1))), 0.5, 1, objective=[bilevel.Reward()]).to_proto()


def test_sense_is_needed_where_an_objective_is_evaluated(client):
    problem = dataclasses.replace(two_state(), sense=None)
    client.solve(problem)
    with pytest.raises(bilevel.InvalidRequest, match="is unspecified; must be SENSE_MINIMIZE") as error:
        client.evaluate_hypergradient(problem)
    assert error.value.field == "problem.sense"
    assert bilevel.Problem.from_json(problem.to_json()).sense is None


def test_every_part_of_the_problem_language_reaches_the_server(client, rng):
    S, A, n = 4, 2, 5
    mdp = bilevel.Mdp(
        0.9 * rng.dirichlet(np.ones(S), size=(S, A)),
        termination_probability=np.full((S, A), 0.1),
        available_actions=[[1, 1], [1, 0], [1, 1], [1, 1]],
        initial_distribution=[0.5, 0.5, 0, 0],
    )
    policy = np.array([[0.3, 0.7], [1, 0], [0.5, 0.5], [0.9, 0.1]])
    mixed = 0.9 / 3 * rng.dirichlet(np.ones(S), size=(S, A))
    problem = bilevel.Problem(
        num_parameters=n,
        parameter_groups=[
            bilevel.ParameterGroup("softmax", 2, scale=3),
            bilevel.ParameterGroup("sigmoid", 1),
            bilevel.ParameterGroup("tanh", 1),
            bilevel.ParameterGroup("identity", 1, scale=-1),
        ],
        contexts=[
            bilevel.Context(
                mdp,
                discount=0.9,
                temperature=0.2,
                reward=bilevel.Reward(
                    base=rng.normal(size=(S, A)),
                    features=rng.normal(size=(S, A, n)),
                    quadratic=bilevel.QuadraticForm(rng.normal(size=(S, A)), np.eye(n)),
                    transition_rewards=rng.normal(size=(S, A, S)),
                ),
                objective=[
                    bilevel.LeaderReturn(bilevel.Reward(base=rng.normal(size=(S, A))), weight=-1, discount=0.5),
                    bilevel.Separable(target=rng.random((S, A)), state_weights=np.ones(S), weight=2),
                    bilevel.Separable(target=policy, kind="forward_kl"),
                    bilevel.Separable(target=policy, kind="reverse_kl", weight=0.3),
                    bilevel.Separable(kind="entropy", weight=-0.1),
                    bilevel.FeatureMatching(rng.normal(size=(S, A, 2)), target=[1, 2], weight=0.1),
                    bilevel.Demonstrations(5 * policy),
                    bilevel.FollowerValue(weight=0.2),
                ],
                weight=0.5,
                dynamics=bilevel.Dynamics(
                    bilevel.Dynamics.mixture([mixed, mixed[::-1]], n).transition_features,
                    initial_features=np.hstack([rng.dirichlet(np.ones(S), size=2).T / 3, np.zeros((S, n - 2))]),
                ),
            )
        ],
        penalties=[bilevel.SquaredL2(0.1), bilevel.L1(0.01)],
        feasible_set=[bilevel.Simplex(2), bilevel.Box(2, lower=-1, upper=[1, 2]), bilevel.Unconstrained(1)],
        sense="maximize",
        aggregation="worst_case",
    )
    x = rng.normal(size=n)
    assert client.check_gradient(problem, x).relative_error_l2 < 1e-6
    again = bilevel.Problem.from_json(problem.to_json())
    assert client.evaluate_hypergradient(again, x).objective == client.evaluate_hypergradient(problem, x).objective
    # The feasible set is honoured: shares sum to one.
    best = client.optimize(problem, x, max_iterations=5).result().best
    assert best.parameters[:2].sum() == pytest.approx(1)
    assert abs(best.parameters[2]) <= 1


def test_balls_and_budgets_are_honoured_and_survive_json(client, rng):
    mdp = bilevel.Mdp(rng.dirichlet(np.ones(4), size=(4, 2)))
    paid = bilevel.Reward(features=rng.normal(size=(4, 2, 5)))
    problem = bilevel.Problem(
        num_parameters=5,
        contexts=[
            bilevel.Context(mdp, 0.9, 0.5, paid, [bilevel.LeaderReturn(bilevel.Reward(base=rng.normal(size=(4, 2))))])
        ],
        feasible_set=[bilevel.Ball(2, center=[1, -1], radius=0.5), bilevel.Budget(2, total=0.25), bilevel.Ball(1)],
        sense="maximize",
    )
    again = bilevel.Problem.from_json(problem.to_json())
    rebuilt = dataclasses.replace(again, sense="maximize")
    assert rebuilt.to_json() == problem.to_json()
    x = client.optimize(problem, 9 * np.ones(5), max_iterations=5).result().best.parameters
    assert np.linalg.norm(x[:2] - [1, -1]) <= 0.5 + 1e-12
    assert (x[2:4] >= 0).all() and x[2:4].sum() <= 0.25 + 1e-12
    assert abs(x[4]) <= 1
    with pytest.raises(bilevel.InvalidRequest) as error:
        client.optimize(dataclasses.replace(problem, feasible_set=[bilevel.Ball(5, radius=-1)])).result()
    assert error.value.field == "problem.feasible_set[0].ball.radius"


def test_float32_rows_are_taken_as_rounded(client, rng):
    P = rng.dirichlet(np.ones(50), size=(50, 2)).astype(np.float32)
    client.solve(bilevel.Problem([bilevel.Context(bilevel.Mdp(P), 0.9, 0.1)]))
    with pytest.raises(bilevel.InvalidRequest, match="sums to"):
        client.solve(bilevel.Problem([bilevel.Context(bilevel.Mdp(P.astype(np.float64) * 0.999), 0.9, 0.1)]))
