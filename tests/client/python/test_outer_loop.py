"""The outer loop of sessions: options, steps as they are taken, and policies' news of them."""

import math
import socket
import threading
import time

import numpy as np
import pytest
from worlds import walk, world

import bilevel
from bilevel import v1
from bilevel.arrays import to_array

X = [0.5, -0.3]


def step_message(number, **fields):
    return v1.OuterStep(
        number=number, iteration=number, merged=100 * number, parameters_version=number, step_size=0.5, **fields
    )


def stopped_message(steps):
    termination = v1.Termination(reason=v1.Termination.Reason.Value("REASON_ITERATION_LIMIT"), detail="max_steps")
    return v1.OuterLoopStatus(steps=steps, last=step_message(steps), termination=termination)


def test_options_are_sent_as_given(fake, session):
    fake.answers["CreateSession"] = v1.Session(name="sessions/fake")
    with bilevel.Client(fake.address) as client:
        client.create_session(
            world(),
            outer_loop=bilevel.OuterLoop(
                bilevel.StocSobirlStorm(bilevel.StepSchedule(power=0.5), weight_cap=3),
                bilevel.Estimator("critic", seed=4),
                first_step=0.1,
                steps=bilevel.StepSchedule(first=20, scale=7),
                gradient_tolerance=0,
                confidence=3,
                max_steps=8,
                lower_level_tolerance=0.01,
                subtract_bias=True,
                on_request=True,
            ),
        )
        sent = fake.requests[-1].outer_loop
        assert sent.stoc_sobirl_storm.weight_cap == 3 and sent.stoc_sobirl_storm.averaging.power == 0.5
        assert sent.estimator.estimator == v1.ESTIMATOR_CRITIC and sent.estimator.seed == 4
        assert (sent.first_step, sent.steps.first, sent.steps.scale) == (0.1, 20, 7)
        assert sent.HasField("gradient_tolerance") and sent.gradient_tolerance == 0
        assert (sent.confidence, sent.max_steps, sent.lower_level_tolerance) == (3, 8, 0.01)
        assert sent.subtract_bias and sent.on_request
        client.create_session(world(), outer_loop=bilevel.OuterLoop())
        sent = fake.requests[-1].outer_loop
        assert sent.WhichOneof("method") == "sobirl" and sent.estimator.estimator == v1.ESTIMATOR_PLUG_IN
        assert {field.name for field, _ in sent.ListFields()} == {"sobirl", "estimator"}
        client.create_session(world(), outer_loop="stoc_sobirl_storm")
        assert fake.requests[-1].outer_loop.HasField("stoc_sobirl_storm")
        client.create_session(world())
        assert not fake.requests[-1].HasField("outer_loop")
        with pytest.raises(ValueError, match="method is 'adam'; must be sobirl or stoc_sobirl_storm, or an instance"):
            client.create_session(world(), outer_loop="adam")
        with pytest.raises(TypeError, match="method is 3"):
            client.create_session(world(), outer_loop=bilevel.OuterLoop(3))
        with pytest.raises(ValueError, match="estimator is 'exact'"):
            client.create_session(world(), outer_loop=bilevel.OuterLoop(estimator="exact"))


def test_steps_bring_all_that_is_told(fake, session):
    full = step_message(
        7,
        parameters=to_array([1.0, 2.0]),
        direction=to_array([3.0, 4.0]),
        averaging=0.25,
        objective=6,
        objective_standard_error=0.5,
        gradient_norm=5,
        gradient_norm_error=math.inf,
        lower_level_residual=0.125,
        estimate=v1.HypergradientEstimate(estimator=v1.ESTIMATOR_RETURN, gradient=to_array([9.0, 9.0])),
        weight_sample_size=11,
        capped_share=0.75,
        weight_bias=to_array([0.1, 0.2]),
    )
    full.iteration, full.parameters_version = 3, 8
    fake.answers["StepSession"] = full
    step = session.step(7)
    assert fake.requests[-1].number == 7
    assert (step.number, step.iteration, step.merged, step.parameters_version) == (7, 3, 700, 8)
    assert step.parameters.tolist() == [1, 2] and step.direction.tolist() == [3, 4]
    assert (step.step_size, step.averaging, step.objective, step.objective_standard_error) == (0.5, 0.25, 6, 0.5)
    assert (step.gradient_norm, step.gradient_norm_error, step.lower_level_residual) == (5, math.inf, 0.125)
    assert step.estimate.estimator == "return" and step.estimate.gradient.tolist() == [9, 9]
    assert (step.weight_sample_size, step.capped_share, step.weight_bias.tolist()) == (11, 0.75, [0.1, 0.2])
    session.step()
    assert fake.requests[-1].number == 0
    fake.answers["StepSession"] = step_message(1)
    step = session.step()
    assert step.parameters is None and step.direction is None and step.estimate is None and step.weight_bias is None

    fake.answers["GetSession"] = v1.Session(name="sessions/fake")
    assert session.status().outer_loop is None
    loop = stopped_message(2)
    loop.waiting = "for more"
    fake.answers["GetSession"].outer_loop.CopyFrom(loop)
    status = session.status().outer_loop
    assert (status.steps, status.last.number, status.best, status.waiting) == (2, 2, None, "for more")
    assert status.termination == bilevel.Termination("ITERATION_LIMIT", "max_steps")


def test_steps_end_when_the_loop_has_stopped(fake, session):
    fake.steps = [step_message(number) for number in (1, 2, 3)]
    fake.stopped = stopped_message(3)
    steps = session.steps(timeout=30)
    assert steps.stopped is None
    assert [step.number for step in steps] == [1, 2, 3]
    assert steps.last == 3 and steps.stopped.termination.reason == "ITERATION_LIMIT"
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is steps.stopped
    assert [step.number for step in session.steps(after=1, timeout=30)] == [2, 3]
    some = session.steps(after=1, until=2)
    assert [step.number for step in some] == [2] and some.stopped is None
    assert list(session.steps(until=0)) == []
    assert fake.watched == [0, 1, 1]
    # The server keeps the newest alone.
    fake.steps = fake.steps[2:]
    assert [step.number for step in session.steps(timeout=30)] == [3]
    assert list(session.steps(until=2)) == []


def test_steps_go_on_by_number_over_broken_streams(fake, session):
    fake.cut = 0.4
    fake.steps = [step_message(number) for number in range(1, 21)]
    fake.stopped = stopped_message(20)
    assert [step.number for step in session.steps(timeout=30)] == list(range(1, 21))
    assert len(fake.watched) > 3 and fake.watched == sorted(fake.watched) and 0 < fake.watched[-1] <= 20


def test_watching_gives_up_in_time(fake, session):
    steps = session.steps(timeout=0.2)
    with pytest.raises(bilevel.DeadlineExceeded):
        next(steps)
    with pytest.raises(bilevel.DeadlineExceeded):
        next(steps)
    fake.steps = [step_message(1)]
    fake.cut = 1.0
    steps = session.steps(patience=0.2)
    begin = time.monotonic()
    with pytest.raises(bilevel.Unavailable, match="cut between two steps"):
        next(steps)
    assert time.monotonic() - begin < 5 and len(fake.watched) > 2
    fake.cut = 0
    assert next(steps).number == 1
    steps.cancel()
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with bilevel.Client(nobody) as client, pytest.raises(bilevel.Unavailable):
        next(client.session("fake").steps(patience=0.0))


def test_watching_ends_when_it_is_told_to(fake):
    client = bilevel.Client(fake.address)
    steps = client.session("fake").steps()
    threading.Timer(0.05, steps.cancel).start()
    with pytest.raises(bilevel.Cancelled):
        next(steps)
    with pytest.raises(bilevel.Cancelled):
        next(steps)
    with client.session("fake").steps() as left:
        pass
    with pytest.raises(bilevel.Cancelled):
        next(left)
    steps = client.session("fake").steps()
    threading.Timer(0.05, client.close).start()
    with pytest.raises(bilevel.Cancelled):
        next(steps)


def test_the_leader_moves_by_itself(client):
    made = client.create_session(
        world(known=False), X, update_interval=1000, outer_loop=bilevel.OuterLoop(gradient_tolerance=0, max_steps=20)
    )
    assert made.status().outer_loop.steps == 0
    news, told = [], []
    watcher = threading.Thread(target=lambda: told.extend(made.steps(timeout=60)))
    watcher.start()
    with made.writer(on_policy=news.append) as writer:
        writer.extend(**walk(20_000))
        made.wait(merged=20_000, policy_version=20)
        deadline = time.monotonic() + 10
        while writer.policy_update is None or writer.policy_update.version < 20:
            assert time.monotonic() < deadline
            time.sleep(0.002)
    watcher.join()
    assert writer.policy_update.step.number == 20
    assert [step.number for step in told] == list(range(1, 21))
    assert [step.merged for step in told] == list(range(1000, 21_000, 1000))
    for before, after in zip(told, told[1:]):
        # Unconstrained ascent.
        assert after.parameters == pytest.approx(before.parameters + before.step_size * before.direction)
        assert after.parameters_version == before.parameters_version + 1
    assert all(step.gradient_norm == pytest.approx(np.linalg.norm(step.direction)) for step in told)
    assert all((step.direction == step.estimate.gradient).all() for step in told)
    assert all(update.step.number == update.step.parameters_version == update.version for update in news)

    loop = made.status().outer_loop
    assert loop.steps == loop.last.number == 20 and loop.termination.reason == "ITERATION_LIMIT" and not loop.waiting
    assert any((loop.best.parameters == step.parameters).all() for step in told)
    listed = {status.name: status.outer_loop for status in client.sessions()}[made.name]
    assert listed.steps == 20 and listed.last is None and listed.best is None
    made.delete()


def test_steps_are_taken_one_by_one(client):
    loop = bilevel.OuterLoop("sobirl", bilevel.Estimator(redraws=4), max_steps=2, on_request=True)
    made = client.create_session(world(known=False), X, update_interval=1000, outer_loop=loop)
    with pytest.raises(bilevel.FailedPrecondition, match="not learned from any transition"):
        made.step()
    assert "not learned from any transition" in made.status().outer_loop.waiting
    with made.writer() as writer:
        writer.extend(**walk(1500))
        made.wait(merged=1500)
        first = made.step(1)
        again = made.step(1)
        assert first.number == 1 and first.merged == 1500 and first.parameters == pytest.approx(X)
        assert (again.direction == first.direction).all()
        assert made.policy().parameters == pytest.approx(first.parameters + first.step_size * first.direction)
        with pytest.raises(bilevel.FailedPrecondition, match="number is 5; the next step is 2"):
            made.step(5)
        assert made.step().number == 2
    with pytest.raises(bilevel.FailedPrecondition, match="has stopped"):
        made.step()
    assert made.status().outer_loop.termination.reason == "ITERATION_LIMIT"
    steps = made.steps()
    assert [step.number for step in steps] == [1, 2] and steps.stopped.steps == 2
    # Another x, and it goes on.
    made.set_parameters([0.1, 0.1])
    made.wait(parameters_version=3)
    assert made.status().outer_loop.termination is None
    third = made.step(3)
    assert (third.number, third.iteration) == (3, 1)
    waiting = made.steps(after=3)
    threading.Timer(0.05, made.delete).start()
    with pytest.raises((bilevel.Aborted, bilevel.NotFound)):
        next(waiting)


def test_what_cannot_be_watched_is_said_at_once(client):
    made = client.create_session(world(known=False))
    with pytest.raises(bilevel.FailedPrecondition, match="no outer_loop"):
        next(made.steps())
    with pytest.raises(bilevel.FailedPrecondition, match="no outer_loop"):
        made.step()
    made.delete()
    with pytest.raises(bilevel.NotFound):
        next(made.steps())
    with pytest.raises(bilevel.InvalidRequest) as error:
        client.create_session(world(known=False), outer_loop=bilevel.OuterLoop(first_step=0))
    assert error.value.field == "outer_loop.first_step"
    with pytest.raises(bilevel.InvalidRequest, match="estimator: must be one from trajectories"):
        client.create_session(world(known=False), outer_loop="stoc_sobirl_storm")
    storm = bilevel.OuterLoop(bilevel.StocSobirlStorm(), "reward_to_go")
    client.create_session(world(known=False), trajectory_capacity=1000, outer_loop=storm).delete()
