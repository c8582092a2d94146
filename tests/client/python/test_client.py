"""Every call, against answers known by hand."""

import dataclasses
import math
import time

import numpy as np
import pytest
from two_state import OPTIMUM, two_state

import bilevel


def test_hypergradient_of_two_states_is_as_by_hand(client):
    point = client.evaluate_hypergradient(two_state(), [0.0], return_policies=True, return_warm_start=True)
    assert point.objective == pytest.approx(0.5, abs=1e-12)
    assert point.gradient == pytest.approx([-0.25], abs=1e-12)
    assert 0 < point.certificate.error_bound < 1e-10
    assert point.termination.converged
    assert point.contexts[0].policy == pytest.approx(np.full((2, 2), 0.5))
    assert point.warm_start.values[0].shape == (2,)


def test_many_points_come_back_in_order(client):
    xs = np.array([[-1.0], [0.0], [2.0]])
    points = client.evaluate_hypergradients(two_state(), xs)
    assert [p.objective for p in points] == pytest.approx([(1 - x) / (1 + math.exp(-x)) for x in (-1, 0, 2)])
    with pytest.raises(ValueError, match="must be one x"):
        client.evaluate_hypergradient(two_state(), xs)


def test_warm_start_changes_the_cost_only(client):
    cold = client.evaluate_hypergradient(two_state(), [0.3], return_warm_start=True)
    warm = client.evaluate_hypergradient(two_state(), [0.3], warm_start=cold.warm_start)
    assert warm.gradient == pytest.approx(cold.gradient, abs=1e-12)
    assert warm.contexts[0].sweeps < cold.contexts[0].sweeps


def test_solve_gives_value_and_policy(client):
    (answer,) = client.solve(two_state(), [0.0], return_q=True, return_log_policy=True)
    # No reward at all: the value of entropy alone, tau log 2 / (1 - gamma).
    assert answer.value == pytest.approx([math.log(2)] * 2)
    assert answer.policy == pytest.approx(np.full((2, 2), 0.5))
    assert answer.log_policy == pytest.approx(np.full((2, 2), -math.log(2)))
    assert answer.q == pytest.approx(np.full((2, 2), 0.5 * math.log(2)))
    assert answer.certificate.value_error_bound < 1e-12


def test_pullback_of_the_policy_is_the_softmax_jacobian(client):
    # With discount 0.5 the next state's value moves by x: d pi(1|s) / d r(1, .) = pi (1 - pi) gamma / tau.
    back = client.pullback(two_state(), [bilevel.Cotangent(policy=[[0, 1], [0, 0]])], return_transition_gradient=True)
    assert back.gradients[0].reward[0] == pytest.approx([-0.25 / 0.5 - 0.125, 0.25 / 0.5 - 0.125], abs=1e-12)
    assert back.gradients[0].reward[1] == pytest.approx([0.125, 0.125], abs=1e-12)
    assert back.gradients[0].transitions.shape == (2, 2, 2)
    assert back.gradients[0].reward_error_bound < 1e-10


def test_check_gradient_agrees(client):
    check = client.check_gradient(two_state(), [0.4])
    assert check.relative_error_l2 < 1e-7
    assert check.analytic == pytest.approx(check.numeric, rel=1e-6)


@pytest.mark.parametrize(
    "method",
    [
        bilevel.ProjectedGradient(),
        bilevel.MSobirl(step_size=1.0, adjoint_step="l1"),
        bilevel.QuasiNewton(memory=5),
        bilevel.TruncatedNewton(max_products=5),
        "quasi-newton",
        "truncated_newton",
    ],
)
def test_optimize_ends_at_the_optimum(client, method):
    events = list(client.optimize(two_state(), [2.0], method, progress_every=1, gradient_tolerance=1e-9))
    assert isinstance(events[-1], bilevel.OptimizeResult)
    assert all(isinstance(event, bilevel.Progress) for event in events[:-1])
    assert events[-1].best.parameters == pytest.approx([OPTIMUM], abs=1e-7)
    assert events[-1].termination.converged
    assert (events[-1].hessian_products > 0) == (events[-1].method == "truncated_newton")


def test_stationarity_is_reported_on_request(client):
    plain = client.optimize(two_state(), [2.0], bilevel.TruncatedNewton()).result()
    assert plain.stationarity is None
    found = client.optimize(two_state(), [2.0], bilevel.TruncatedNewton(), return_stationarity=True).result()
    assert found.stationarity.kind == "OPTIMUM"
    assert found.stationarity.exact and found.stationarity.products == 1
    # -phi'' = sigmoid(x) at the maximum.
    assert found.stationarity.smallest_curvature == pytest.approx(1 / (1 + np.exp(-OPTIMUM)), rel=1e-5)
    assert found.stationarity.direction == pytest.approx([1.0])
    slope = client.optimize(two_state(), [2.0], max_iterations=0, return_stationarity=True).result()
    assert slope.stationarity.kind == "NOT_STATIONARY" and slope.stationarity.direction.size == 0


def test_quasi_newton_continues_from_its_state(client, cli):
    problem = bilevel.Problem.from_json(cli("example", "policy-matching"))
    x = np.ones(problem.num_parameters)

    def run(start, state=None, **options):
        method = bilevel.QuasiNewton(memory=5, state=state)
        return client.optimize(problem, start, method, gradient_tolerance=0, **options).result()

    whole = run(x, max_iterations=20)
    first = run(x, max_iterations=10, return_warm_start=True)
    assert whole.quasi_newton_state is None
    assert first.quasi_newton_state.steps.shape == (5, problem.num_parameters)
    second = run(first.best.parameters, first.quasi_newton_state, max_iterations=10)
    assert second.best.parameters == pytest.approx(whole.best.parameters, abs=1e-9)


def test_optimize_shows_a_bar_and_keeps_the_best_point_when_cancelled(client, capsys):
    run = client.optimize(
        two_state(),
        [2.0],
        bilevel.MSobirl(step_size=1e-9),
        max_iterations=1_000_000_000,
        progress_every=1,
        progress_bar=True,
    )
    for event in run:
        if event.evaluations > 0:
            break
    run.cancel()
    with pytest.raises(bilevel.Cancelled):
        run.result()
    assert run.last_progress.best_parameters == pytest.approx([2.0], abs=1e-3)
    assert "|h|" in capsys.readouterr().err
    client.optimize(two_state(), method=bilevel.Portfolio(islands=2, patience=1), progress_bar=True).result()
    assert "round" in capsys.readouterr().err


def test_leaving_the_loop_stops_the_servers_work(server):
    # Of a client of its own: what is left open would end with it, so the server is asked through another.
    endless = {"method": bilevel.MSobirl(step_size=1e-9), "max_iterations": 1_000_000_000, "progress_every": 1}
    with bilevel.Server(flags=["--threads=1", "--queue_length=0"]) as own, bilevel.Client(own.address) as client:
        for _ in client.optimize(two_state(), [2.0], **endless):
            break
        client.optimize(two_state(), [2.0], **endless)  # never read, and dropped
        # The only worker is free again: with a queue of length 0 a busy one would refuse.
        for attempt in range(100):
            try:
                result = client.optimize(two_state(), [2.0], max_iterations=1).result()
                break
            except bilevel.ResourceExhausted:
                time.sleep(0.05)
        assert result.iterations == 1


def test_limits_are_outcomes(client):
    result = client.optimize(two_state(), [2.0], max_iterations=0).result()
    assert result.termination.reason == "ITERATION_LIMIT"
    result = client.optimize(
        two_state(), [2.0], bilevel.MSobirl(step_size=1e-9), max_iterations=1_000_000_000, time_limit=0.3
    ).result()
    assert result.termination.reason == "TIME_LIMIT"
    assert result.best.certificate.error_bound < 1e-10


def test_methods_health_and_cost(client):
    methods = client.methods()
    assert {method.name for method in methods.methods} == {
        "m_sobirl",
        "projected_gradient",
        "quasi_newton",
        "portfolio",
        "truncated_newton",
    }
    assert methods.message_bytes == 4 << 20
    assert methods.environments > 0 and methods.uploads > 0
    assert client.health() == "SERVING"
    assert client.health("bilevel.v1.SolverService") == "SERVING"


def test_lint_names_what_is_wrong_and_what_looks_unintended(client):
    clean = client.lint(two_state())
    assert clean.violations == () and clean.advice == () and clean.bytes > 0
    assert str(clean).startswith("valid; needs about")
    first = two_state().contexts[0]
    odd = dataclasses.replace(first, discount=0.0, weight=0.0)
    found = client.lint(dataclasses.replace(two_state(), contexts=[first, odd]))
    assert [advice.field for advice in found.advice] == ["problem.contexts[1].discount", "problem.contexts[1].weight"]
    wrong = client.lint(dataclasses.replace(two_state(), contexts=[dataclasses.replace(first, discount=2.0)]))
    assert wrong.violations[0].field == "problem.contexts[0].discount"
    assert str(wrong) == "wrong: problem.contexts[0].discount is 2; must be in [0, 1)"


def test_ten_megabytes_of_numbers_cross_without_a_loop(rng):
    """Throughput of arrays to messages and back, printed; a Python loop would take seconds."""
    from bilevel.arrays import from_array, to_array

    numbers = rng.normal(size=10_000_000 // 8)
    begin = time.perf_counter()
    for _ in range(10):
        back = from_array(type(to_array(numbers)).FromString(to_array(numbers).SerializeToString()))
    seconds = (time.perf_counter() - begin) / 10
    assert (back == numbers).all()
    print(f"10 MB there and back: {seconds * 1e3:.1f} ms, {10 / seconds:.0f} MB/s")
    assert seconds < 1


def test_portfolio_brings_optima_and_the_reported_objective_is_there(client, cli):
    problem = bilevel.Problem.from_json(cli("example", "four-rooms"))
    method = bilevel.Portfolio(islands=4, evaluations_per_round=100, patience=1, max_optima=3)
    run = lambda: client.optimize(problem, method=method, seed=3, max_evaluations=1500).result()
    result, again = run(), run()
    assert result.best.objective > 0.9
    assert result.optima[0].objective == pytest.approx(result.best.objective, abs=1e-12)
    assert [optimum.hits > 0 for optimum in result.optima] == [True] * 3
    assert (again.best.parameters == result.best.parameters).all()
    point = client.evaluate_hypergradient(problem, result.best.parameters)
    assert point.objective == pytest.approx(result.best.objective, abs=1e-9)


def test_sensitivities_are_those_of_the_two_state_problem(client):
    # phi(x) = (1 - x) sigmoid(x): the weight scales it, and x* stays; everything else moves both.
    result = client.optimize(two_state(), method=bilevel.QuasiNewton(), return_sensitivities=True).result()
    (context,) = result.sensitivities.contexts
    assert context.weight.objective == pytest.approx(result.best.objective)
    assert context.weight.parameters == pytest.approx([0], abs=1e-5)
    step = 1e-4
    moved = [
        client.optimize(
            dataclasses.replace(
                two_state(), contexts=[dataclasses.replace(two_state().contexts[0], temperature=0.5 + h)]
            ),
            method=bilevel.QuasiNewton(),
            gradient_tolerance=1e-10,
        )
        .result()
        .best
        for h in (step, -step)
    ]
    assert context.temperature.objective == pytest.approx((moved[0].objective - moved[1].objective) / (2 * step), 1e-6)
    assert context.temperature.parameters == pytest.approx(
        (moved[0].parameters - moved[1].parameters) / (2 * step), 1e-4
    )
    assert result.sensitivities.note == ""
