"""The referee: an outer loop's steps against the exact hyper-gradient of the known world."""

import math

import numpy as np
import pytest
from two_state import two_state
from worlds import walk, world

import bilevel
from bilevel import v1
from bilevel.arrays import to_array

X = [0.5, -0.3]


def rotated(gradient):
    """Twice as long, 60 degrees away."""
    c, s = 0.5, math.sqrt(0.75)
    return 2 * np.array([c * gradient[0] - s * gradient[1], s * gradient[0] + c * gradient[1]])


def taken(number, x, direction, objective=0.0):
    return bilevel.OuterStep.from_proto(
        v1.OuterStep(
            number=number,
            merged=100 * number,
            parameters=to_array(x),
            direction=to_array(direction),
            objective=objective,
        )
    )


def test_the_referee_knows_the_truth_in_closed_form(client):
    # phi(x) = (1 - x) s(x), s(x) = 1 / (1 + exp(-x)); phi' = -s + (1 - x) s (1 - s).
    xs = np.linspace(-2, 2, 7)
    s = 1 / (1 + np.exp(-xs))
    objective, gradient = (1 - xs) * s, -s + (1 - xs) * s * (1 - s)
    steps = [taken(k + 1, [x], [0.1], objective=k) for k, x in enumerate(xs)]
    for batch in (1, 3, 64):
        rows = list(bilevel.referee(client, two_state(), iter(steps), batch=batch))
        assert [row.number for row in rows] == list(range(1, 8)) and rows[2].merged == 300
        assert [row.objective for row in rows] == pytest.approx(objective, abs=1e-9)
        assert [row.estimated_objective for row in rows] == list(range(7))
        assert [row.gradient_norm for row in rows] == pytest.approx(abs(gradient), abs=1e-9)
        assert [row.cosine for row in rows] == pytest.approx(np.sign(gradient))
        assert [row.relative_error for row in rows] == pytest.approx(abs(0.1 - gradient) / abs(gradient), rel=1e-6)
    assert rows[0].exact.certificate.error_bound < 1e-6 and rows[0].step is steps[0]
    with pytest.raises(ValueError, match="batch is 0"):
        next(bilevel.referee(client, two_state(), steps, batch=0))


def test_the_referee_asks_again_for_what_took_too_long(client):
    class Slow:
        def __init__(self, most):
            self.most, self.asked = most, []

        def evaluate_hypergradients(self, problem, parameters, **options):
            self.asked.append(len(parameters))
            return client.evaluate_hypergradients(problem, parameters, **options)[: self.most]

    steps = [taken(k + 1, [0.1 * k], [1.0]) for k in range(5)]
    slow = Slow(2)
    rows = list(bilevel.referee(slow, two_state(), steps))
    assert slow.asked == [5, 3, 1] and [row.exact.parameters[0] for row in rows] == pytest.approx(0.1 * np.arange(5))
    with pytest.raises(bilevel.DeadlineExceeded, match="the hyper-gradient of step 1 took too long"):
        list(bilevel.referee(Slow(0), two_state(), steps))


def test_the_referee_measures_angles_and_lengths(client):
    exact = client.evaluate_hypergradient(world(), X).gradient
    directions = [exact, -exact, rotated(exact), np.zeros(2)]
    steps = [taken(k + 1, X, direction) for k, direction in enumerate(directions)]
    same, opposite, turned, none = bilevel.referee(client, world(), steps)
    assert same.cosine == pytest.approx(1) and same.relative_error == pytest.approx(0, abs=1e-6)
    assert opposite.cosine == pytest.approx(-1) and opposite.relative_error == pytest.approx(2)
    assert turned.cosine == pytest.approx(0.5) and turned.relative_error == pytest.approx(math.sqrt(3))
    assert math.isnan(none.cosine) and none.relative_error == 1
    assert "step 3, 300 transitions: objective" in str(turned) and "cosine 0.500, relative error 1.7" in str(turned)
    with pytest.raises(ValueError, match="step 5 came without its x and direction"):
        list(bilevel.referee(client, world(), [bilevel.OuterStep.from_proto(v1.OuterStep(number=5))]))


def test_the_loop_follows_the_exact_gradient(client):
    loop = bilevel.OuterLoop(gradient_tolerance=0, max_steps=20)
    made = client.create_session(world(known=False), X, update_interval=1000, outer_loop=loop)
    assert made.referee(world()) == ()
    with made.writer() as writer:
        writer.extend(**walk(20_000))
        made.wait(merged=20_000, policy_version=20)
    rows = made.referee(world())
    assert [row.number for row in rows] == list(range(1, 21))
    assert [row.merged for row in rows] == list(range(1000, 21_000, 1000))
    for row in rows:
        assert row.exact.parameters == pytest.approx(row.step.parameters)
        # As estimates know it: four standard errors, and twice the bias.
        estimate = row.step.estimate
        error = row.relative_error * row.gradient_norm
        assert error < 4 * np.linalg.norm(estimate.standard_error) + 2 * np.linalg.norm(estimate.bias)
        assert abs(row.estimated_objective - row.objective) < 4 * estimate.objective_standard_error
    assert rows[0].cosine > 0.9 and rows[-1].objective > rows[0].objective
    assert [row.number for row in made.referee(world(), [rows[3].step, rows[4].step])] == [4, 5]
    made.delete()


def test_a_session_without_an_outer_loop_has_no_referee(client):
    made = client.create_session(world(known=False))
    with pytest.raises(bilevel.FailedPrecondition, match="no outer_loop"):
        made.referee(world())
    made.delete()
