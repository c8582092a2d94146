"""Actors: observations in, the same action for the same observation, whatever happens to connections."""

import time

import pytest
from fake_session import CuttingProxy
from worlds import World, world

import bilevel

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_an_environment_loop_over_broken_streams(fake, session):
    fake.cut = 0.15
    seen = []
    with session.actor() as actor:
        for episode in range(5):
            seen.append(actor.start(episode, 10))
            for step in range(1, 10):
                seen.append(actor.step(episode, 10 + step))
            assert actor.step(episode, 0, "terminated" if episode % 2 else "truncated") is None
            assert actor.drawn == (-0.5, 3)
        assert actor.accepted == 50
        fake.cut = 0
        actor.finish()
    assert fake.opened > 3 and fake.finished
    assert [row["state"] for row in fake.rows] == [*range(11, 20), 0] * 5
    assert [row["step_kind"] for row in fake.rows[:20]] == [0] * 9 + [2] + [0] * 9 + [1]
    # Each is the action that the server drew for it, and no other.
    drawn = [
        fake.actions[episode, 0 if step == 0 else episode * 10 + step] for episode in range(5) for step in range(10)
    ]
    assert seen == drawn


def test_episodes_may_interleave(fake, session):
    with session.actor() as actor:
        first, second = actor.start(1, 3), actor.start(2, 4)
        assert (first, second) == (fake.actions[1, 0], fake.actions[2, 0])
        assert actor.step(2, 5) == fake.actions[2, 1]
        assert actor.step(1, 6) == fake.actions[1, 2]
        assert actor.drawn == bilevel.Drawn(-0.5, 3)


def test_a_call_that_ran_out_of_time_may_be_made_again(fake, session):
    with session.actor() as actor:
        fake.silent = True
        with pytest.raises(bilevel.DeadlineExceeded):
            actor.start(1, 3, timeout=0.1)
        with pytest.raises(ValueError, match="call again with the same arguments"):
            actor.start(1, 4)
        fake.silent = False
        fake.stop()
        with pytest.raises(bilevel.DeadlineExceeded, match="UNAVAILABLE"):
            actor.start(1, 3, timeout=0.3)
        fake.start()
        assert actor.start(1, 3) == fake.actions[1, 0]
    assert len(fake.actions) == 1


def test_a_rejected_observation_is_named_and_the_episode_goes_on(fake, session):
    fake.bad_state = 99
    with session.actor(exploration="least_tried", share=0.2) as actor:
        actor.start(1, 3)
        actor.step(1, 4)
        with pytest.raises(bilevel.Rejected) as error:
            actor.step(1, 99)
        assert error.value.sequence == 2 and error.value.transition["state"] == 99
        assert error.value.field == "observation.state"
        assert actor.step(1, 5) == fake.actions[1, 2]
    assert fake.exploration.share == 0.2
    assert [row["state"] for row in fake.rows] == [4, 5]
    with pytest.raises(ValueError, match="exploration is 'often'; must be none, uniform or least_tried"):
        session.actor(exploration="often")
    with pytest.raises(TypeError, match="state is 0.5; must be a whole number"):
        with session.actor() as actor:
            actor.start(1, 0.5)


def test_another_actor_ends_this_one_and_resumes(fake, session):
    with session.actor() as actor:
        actor.start(1, 3)
        actor.step(1, 4)
        with session.actor() as young:
            assert young.accepted == 1
            young.start(2, 7)
            young.step(2, 8)
        with pytest.raises(bilevel.Aborted):
            actor.step(1, 5)


def test_gymnasium_environments_run(fake, session):
    class Corridor:
        """Three cells; any action leads on, the last one ends the episode."""

        def reset(self, seed):
            self.at = seed
            return self.at, {}

        def step(self, action):
            self.at += 1
            return self.at, 1.5, self.at == 3, False, {}

    with session.actor() as actor:
        episode = bilevel.run_episode(actor, Corridor(), 1, seed=0, leader_reward=lambda s, a, s2, r: 10 * s + s2 + r)
        assert episode.states == [0, 1, 2, 3] and episode.kind == "terminated" and episode.rewards == [1.5] * 3
        assert episode.actions == [fake.actions[1, i] for i in range(3)]
        assert bilevel.run_episode(actor, Corridor(), 2, max_steps=2, seed=0).kind == "truncated"
    assert [row["step_kind"] for row in fake.rows] == [0, 0, 1, 0, 2]


def test_walks_are_run_after_their_episode(fake, session):
    class Ring:
        def reset(self):
            self.at = 0
            return self.at, {}

        def set_state(self, state):
            self.at = state

        def step(self, action):
            self.at = (self.at + 1) % 5
            return self.at, 0.0, False, False, {}

    with session.actor(walks=True) as actor:
        for episode in (7, 8):
            assert bilevel.run_episode(actor, Ring(), episode, max_steps=3).states == [0, 1, 2, 3]
            assert actor.walks == []
    assert fake.walks == [(1, 7, 1), (2, 7, 1), (1, 8, 1), (2, 8, 1)]
    assert [row["state"] for row in fake.rows] == [1, 2, 3, 2, 3, 2, 3] * 2
    with session.actor() as actor:
        bilevel.run_episode(actor, Ring(), 9, max_steps=3)
        assert actor.walks == []


def test_the_real_server_estimates_from_walks_over_cut_connections(server, client):
    def estimate(address):
        made = client.create_session(
            world(known=False), [0.5, -0.3], follower="simulated", update_interval=500, merge_round=50, seed=3
        )
        with bilevel.Client(address) as connected:
            with connected.session(made.name).actor(walks=True) as actor:
                environment = World(seed=5)
                for episode in range(40):
                    bilevel.run_episode(actor, environment, episode, max_steps=20)
                steps = actor.accepted
                actor.finish()
        made.wait(merged=steps)
        found = made.hypergradient("reward_to_go", critic="continuations")
        assert found.trajectories == 40 and found.trajectories_left_out == 0 and found.transitions == steps
        made.delete()
        return found.gradient

    plain = estimate(server.address)
    with CuttingProxy(server.address, least=2_000, most=20_000) as proxy:
        assert (estimate(proxy.address) == plain).all()
        assert proxy.cuts > 3


def test_the_real_server_acts_alike_over_cut_connections(server, client):
    def act(address):
        made = client.create_session(
            world(known=False), [0.5, -0.3], follower="simulated", update_interval=500, merge_round=50, seed=3
        )
        actions, begin = [], time.perf_counter()
        with bilevel.Client(address) as connected:
            with connected.session(made.name).actor(exploration="uniform", share=0.1) as actor:
                environment = World(seed=5)
                for episode in range(60):
                    actions += bilevel.run_episode(actor, environment, episode, max_steps=50).actions
                assert actor.accepted == len(actions)
                assert actor.drawn.policy_version > 0
                actor.finish()
        print(f"{len(actions) / (time.perf_counter() - begin):.0f} actions/s")
        status = made.wait(merged=len(actions), policy_version=len(actions) // 500)
        assert status.accepted == len(actions) and status.follower == "simulated" and status.trajectories > 0
        policy = made.policy()
        assert policy.version == len(actions) // 500
        made.delete()
        return actions, policy.contexts[0].policy

    plain = act(server.address)
    with CuttingProxy(server.address, least=2_000, most=20_000) as proxy:
        cut = act(proxy.address)
        print(proxy.cuts, "cuts")
        assert proxy.cuts > 3
    assert plain[0] == cut[0]
    assert (plain[1] == cut[1]).all()


def test_the_real_server_names_what_is_wrong(client):
    made = client.create_session(world(known=False), follower="simulated")
    with made.actor() as actor:
        with pytest.raises(bilevel.Rejected, match="observation.state.* 7; must be in") as error:
            actor.start(1, 7)
        assert error.value.field == "observation.state"
        actor.start(1, 2)
        with pytest.raises(bilevel.Rejected) as error:
            actor.step(1, 9)
        assert error.value.sequence == 1
        assert actor.step(1, 3, "truncated") is None
    assert made.wait(merged=1).accepted == 1
    made.delete()
    with pytest.raises(bilevel.NotFound):
        made.actor()


def test_only_simulated_followers_act(client):
    made = client.create_session(world(known=False))
    with pytest.raises(bilevel.FailedPrecondition, match="not SIMULATED"):
        made.actor()
    made.delete()
