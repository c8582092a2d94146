"""Sessions: created, read, moved and deleted; policies and gradients against those of the known world."""

import dataclasses

import numpy as np
import pytest
from worlds import ACTIONS, STATES, walk, world

import bilevel
from bilevel import v1
from bilevel.arrays import from_array, to_array

X = [0.5, -0.3]


@pytest.fixture(scope="module")
def learned(client):
    """A session that knows 60,000 transitions of the world."""
    made = client.create_session(world(known=False), X, update_interval=1000)
    with made.writer() as writer:
        writer.extend(**walk(60_000))
    made.wait(merged=60_000, policy_version=60)
    yield made
    made.delete()


def test_the_policy_tends_to_that_of_the_known_world(client, learned):
    policy = learned.policy()
    exact = client.evaluate_hypergradient(world(), X, return_policies=True)
    assert policy.version == 60 and policy.merged == 60_000
    assert policy.parameters == pytest.approx(X)
    (context,) = policy.contexts
    assert context.policy == pytest.approx(exact.contexts[0].policy, abs=0.02)
    assert np.exp(context.log_policy) == pytest.approx(context.policy)
    assert context.value.shape == (STATES,) and context.residual < 1e-8 and context.unseen_rows == 0
    assert learned.policy(if_newer_than=60) is None
    assert learned.policy(if_newer_than=59).version == 60


def test_the_gradient_lies_where_its_error_bars_say(client, learned):
    exact = client.evaluate_hypergradient(world(), X)
    found = learned.hypergradient(redraws=100, seed=5)
    assert (found.standard_error < 0.1 * np.linalg.norm(exact.gradient)).all()
    lower, upper = found.interval(0.9999)
    assert ((lower < exact.gradient) & (exact.gradient < upper)).all()
    low, high = found.objective_interval(0.9999)
    assert low < exact.objective < high
    narrow = found.interval(0.5)
    assert (lower < narrow[0]).all() and (narrow[1] < upper).all()
    # 1.96 standard errors.
    assert found.interval()[1] - found.gradient == pytest.approx(1.959964 * found.standard_error, rel=1e-6)
    assert found.bias.shape == (2,) and found.transitions == 60_000 and found.estimator == "plug_in"
    assert found.assumptions and found.seed == 5
    assert found.on_model.gradient == pytest.approx(found.gradient, abs=0.1)
    again = learned.hypergradient(bilevel.Estimator(redraws=100, seed=5))
    assert (again.gradient == found.gradient).all()
    elsewhere = learned.hypergradient(parameters=[0.0, 0.0], redraws=0)
    assert elsewhere.gradient != pytest.approx(found.gradient)
    assert elsewhere.standard_error is None
    with pytest.raises(ValueError, match="no standard errors; ask for redraws"):
        elsewhere.interval()
    with pytest.raises(ValueError, match="level is 95"):
        found.interval(95)


def test_sessions_are_listed_found_and_deleted(client):
    made = client.create_session(world(known=False), session_id="town")
    assert made.name == "sessions/town"
    assert "sessions/town" in [status.name for status in client.sessions()]
    status = client.session("town").status()
    assert client.session("sessions/town").status().name == status.name
    assert (status.accepted, status.merged, status.policy_version, status.failure) == (0, 0, 0, None)
    assert status.reserved_bytes > 1e5
    assert made.policy() is None
    with pytest.raises(bilevel.AlreadyExists):
        client.create_session(world(known=False), session_id="town")
    made.delete()
    with pytest.raises(bilevel.NotFound):
        made.delete()
    with pytest.raises(bilevel.NotFound):
        made.status()


def test_transitions_of_the_problem_are_left_out(client):
    known = client.create_session(world())
    known.delete()
    problem = world()
    assert problem.to_proto().contexts[0].environment.HasField("transitions")
    again = bilevel.Problem.from_json(world(known=False).to_json())
    mdp = again.contexts[0].mdp
    assert mdp.transitions is None and (mdp.num_states, mdp.num_actions) == (STATES, ACTIONS)
    client.create_session(again).delete()
    client.create_session(again.to_proto()).delete()
    moved = dataclasses.replace(mdp, transitions=world().contexts[0].mdp.transitions[:3, :, :3])
    assert moved.num_states == 3
    with pytest.raises(ValueError, match="num_states is 0 and num_actions 3; without transitions both must be given"):
        bilevel.Mdp(num_actions=3)
    with pytest.raises(bilevel.InvalidRequest) as error:
        client.evaluate_hypergradient(world(known=False))
    assert error.value.field.startswith("problem.contexts[0].environment")


def test_options_of_sessions_are_sent_as_given(fake, session):
    fake.answers["CreateSession"] = v1.Session(name="sessions/fake")
    with bilevel.Client(fake.address) as client:
        client.create_session(
            world(),
            X,
            writers=["a", "b"],
            learner=bilevel.SoftQLearner(bilevel.StepSchedule(power=0.6), learn_gradient=True, num_features=4),
            follower="simulated",
            prior=bilevel.ModelPrior("neighbours", 0.5),
            estimate_with_policy=bilevel.Estimator("zeroth_order", redraws=10, radius=0.1),
            trajectory_capacity=7,
            seed=9,
        )
        (sent,) = fake.requests
        assert list(sent.writers) == ["a", "b"] and sent.trajectory_capacity == 7 and sent.seed == 9
        assert sent.soft_q.q.power == 0.6 and not sent.soft_q.q.HasField("first") and sent.soft_q.num_features == 4
        assert sent.follower == v1.FOLLOWER_SIMULATED
        assert sent.prior.kind == v1.ModelPrior.Kind.Value("KIND_NEIGHBOURS") and sent.prior.strength == 0.5
        assert sent.estimate_with_policy.estimator == v1.ESTIMATOR_ZEROTH_ORDER
        assert not sent.HasField("queue") and not sent.problem.contexts[0].environment.HasField("transitions")
        for learner in ("count", "plug_in", "soft_q", "observed"):
            client.create_session(world(), learner=learner)
            assert fake.requests[-1].WhichOneof("learner") == learner
        for wrong, message in (
            ({"learner": "deep"}, "learner is 'deep'; must be count, plug_in, soft_q, observed"),
            ({"follower": "alive"}, "follower is 'alive'; must be solved, simulated or observed"),
            ({"prior": bilevel.ModelPrior("none")}, "prior is 'none'; must be stay, end or neighbours"),
            ({"estimate_with_policy": "exact"}, "estimator is 'exact'; must be plug_in, return, "),
        ):
            with pytest.raises(ValueError, match=message):
                client.create_session(world(), **wrong)


def test_the_leader_moves_and_preferences_are_numbered(fake, session):
    fake.answers["SetParameters"] = v1.Session(
        name="sessions/fake", parameters_version=2, parameters=to_array([1.0, 2.0])
    )
    status = session.set_parameters([1, 2], after_merged=500)
    assert status.parameters_version == 2 and status.parameters.tolist() == [1, 2]
    assert fake.requests[-1].after_merged == 500
    session.set_parameters([1, 2])
    assert not fake.requests[-1].HasField("after_merged")

    fake.answers["GetSession"] = v1.Session(name="sessions/fake", preferences=4)
    fake.answers["AddPreferences"] = v1.AddPreferencesResponse(accepted_sequence=6, steps=11)
    preferences = [
        bilevel.Preference(bilevel.FragmentRange(3, 0, 5), bilevel.FragmentRange(4, 2, 5, "w"), 0.5),
        bilevel.Preference(bilevel.FragmentSteps([0, 1], [2, 0]), bilevel.FragmentSteps([1], [1], context=1)),
    ]
    assert session.add_preferences(preferences) == (6, 11)
    sent = fake.requests[-1]
    assert sent.first_sequence == 5 and sent.preferences[0].first_preferred == 0.5
    assert sent.preferences[0].second.range.writer_id == "w" and sent.preferences[0].first.range.count == 5
    assert from_array(sent.preferences[1].first.steps.action).tolist() == [2, 0]
    assert sent.preferences[1].second.steps.context == 1
    session.add_preferences(preferences[:1] * 10_000, first_sequence=1)
    assert [len(request.preferences) for request in fake.requests[-2:]] == [8192, 1808]
    assert [request.first_sequence for request in fake.requests[-2:]] == [1, 8193]


def test_policies_too_large_for_a_message_come_in_pieces(fake, session):
    fake.policy = v1.GetPolicyResponse(version=3, merged=10, parameters=to_array([1.0]), parameters_version=1)
    pi = np.full((500, 2), 0.5)
    fake.policy.contexts.add(policy=to_array(pi), log_policy=to_array(np.log(pi)), value=to_array(np.ones(500)))
    policy = session.policy()
    assert policy.version == 3 and (policy.contexts[0].policy == pi).all() and policy.contexts[0].value.shape == (500,)
    fake.policy = v1.GetPolicyResponse()
    assert session.policy() is None


def test_estimates_of_trajectories_bring_their_parts(fake, session):
    fake.answers["EstimateHypergradient"] = v1.EstimateHypergradientResponse(
        estimate=v1.HypergradientEstimate(
            estimator=v1.ESTIMATOR_CRITIC,
            gradient=to_array([3.0]),
            exploitation=to_array([1.0]),
            exploration=to_array([2.0]),
            standard_error=to_array([0.5]),
            objective=4,
            trajectories=7,
            parameters_version=2,
        )
    )
    found = session.hypergradient("critic", baseline="model", critic="learned", seed=3)
    sent = fake.requests[-1].options
    assert (sent.estimator, sent.baseline, sent.critic) == (v1.ESTIMATOR_CRITIC, v1.BASELINE_MODEL, v1.CRITIC_LEARNED)
    assert found.estimator == "critic" and found.exploitation + found.exploration == found.gradient
    assert found.trajectories == 7 and found.parameters_version == 2 and found.bias is None and found.on_model is None
    with pytest.raises(TypeError, match="seed: belong into the Estimator"):
        session.hypergradient(bilevel.Estimator(), seed=1)


def test_the_leader_moves_between_two_transitions(client):
    columns = walk(2000)
    made = client.create_session(world(known=False), X, update_interval=500)
    assert made.status().parameters_version == 1 and made.status().parameters == pytest.approx(X)
    made.set_parameters([1.0, 1.0], after_merged=1000)
    told = []
    with made.writer(on_policy=told.append) as writer:
        writer.extend(**columns)
        status = made.wait(merged=2000, policy_version=4, parameters_version=2)
    assert status.parameters == pytest.approx([1, 1])
    with pytest.raises(bilevel.FailedPrecondition):
        made.set_parameters([0.0, 0.0], after_merged=1000)
    assert made.policy().parameters_version == 2
    assert all(len(update.digest) == 32 for update in told)
    # What was learned of the world stays: as a session at that x that knows the same.
    other = client.create_session(world(known=False), [1.0, 1.0], update_interval=500)
    with other.writer() as writer:
        writer.extend(**columns)
    other.wait(policy_version=4)
    assert other.policy().contexts[0].policy == pytest.approx(made.policy().contexts[0].policy, abs=1e-9)
    made.delete()
    other.delete()


def test_a_large_policy_is_downloaded(client):
    states = 150_000
    context = bilevel.Context(bilevel.Mdp(num_states=states, num_actions=2), 0.5, 0.5)
    made = client.create_session(bilevel.Problem([context]), update_interval=10, max_distinct=1000)
    with made.writer() as writer:
        writer.extend(0, np.arange(10), 1, np.arange(1, 11))
    made.wait(policy_version=1)
    policy = made.policy().contexts[0]
    assert policy.policy.shape == (states, 2) and policy.unseen_rows == 2 * states - 10
    assert policy.policy.sum(axis=1) == pytest.approx(np.ones(states))
    made.delete()


def test_preferences_are_taken_once(client):
    made = client.create_session(world(known=False), X, trajectory_capacity=1000)
    with made.writer() as writer:
        writer.extend(7, [0, 1, 2, 3], 0, [1, 2, 3, 4])
    made.wait(merged=4)
    pair = bilevel.Preference(bilevel.FragmentRange(7, 0, 2), bilevel.FragmentRange(7, 2, 2), 0.0)
    free = bilevel.Preference(bilevel.FragmentSteps([0, 1], [2, 0]), bilevel.FragmentSteps([1], [1]))
    added = made.add_preferences([pair, free])
    assert added == (2, 7)
    assert made.add_preferences([pair, free], first_sequence=1) == added
    assert made.status().preferences == 2
    with pytest.raises(bilevel.InvalidRequest):
        made.add_preferences([bilevel.Preference(bilevel.FragmentSteps([99], [0]), bilevel.FragmentSteps([1], [1]))])
    with pytest.raises(bilevel.FailedPrecondition):
        made.add_preferences([bilevel.Preference(bilevel.FragmentRange(8, 0, 1), bilevel.FragmentRange(7, 0, 1))])
    with pytest.raises(bilevel.FailedPrecondition):
        made.add_preferences([free], first_sequence=10)
    made.delete()


def test_a_world_that_drifts_is_noticed(client):
    columns = walk(8000)
    columns["action"][4000:] = (columns["action"][4000:] + 1) % ACTIONS  # every action does what the next one did
    for keep in (False, True):
        drift = bilevel.DriftTest(window=1000, significance=1e-3, keep=keep)
        made = client.create_session(world(known=False), drift=drift)
        with made.writer() as writer:
            writer.extend(**columns)
        status = made.wait(merged=8000)
        assert status.drifts == 1 and status.last_drift.p_value < 1e-9
        assert (status.last_drift.merged, status.last_drift.what, status.last_drift.context) == (5000, "transitions", 0)
        assert made.hypergradient(redraws=0).transitions == (8000 if keep else 4000)
        made.delete()
    with pytest.raises(bilevel.InvalidRequest, match="drift.window"):
        client.create_session(world(known=False), drift=bilevel.DriftTest(window=99))


def test_sessions_take_every_column(client):
    columns = walk(3000)
    observed = client.create_session(world(known=False), follower="observed", update_interval=1000)
    with observed.writer() as writer:
        writer.extend(**columns, leader_reward=1.0, behavior_log_probability=-np.log(3), parameters_version=1)
    assert observed.wait(policy_version=3).trajectories > 0
    # The walker tries everything alike.
    assert observed.policy().contexts[0].policy == pytest.approx(np.full((STATES, ACTIONS), 1 / 3), abs=0.1)
    learner = bilevel.SoftQLearner(num_features=STATES)
    featured = client.create_session(world(known=False), learner=learner, update_interval=1000)
    unit = np.eye(STATES)
    with featured.writer() as writer:
        writer.extend(**columns, features=unit[columns["state"]], next_features=unit[columns["next_state"]])
        writer.append(10**6, 0, 1, 2, "truncated", features=unit[0], next_features=unit[2])
        writer.flush()
        writer.append(10**6, 0, 1, 2, "truncated", features=unit[0, :3], next_features=unit[2, :3])
        with pytest.raises(bilevel.Rejected, match="features"):
            writer.flush()
        writer.take_back()
    assert featured.wait(policy_version=3).merged >= 3000
    observed.delete()
    featured.delete()
