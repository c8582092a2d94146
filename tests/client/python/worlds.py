"""A small world with two parameters, known and unknown, and walkers in it."""

import numpy as np

import bilevel

STATES, ACTIONS = 5, 3


def world(known=True):
    """The last action of state 4 ends the episode half of the time."""
    rng = np.random.default_rng(1)
    transitions = rng.dirichlet(np.ones(STATES), size=(STATES, ACTIONS))
    ends = np.zeros((STATES, ACTIONS))
    ends[-1, -1] = 0.5
    transitions[-1, -1] *= 0.5
    mdp = bilevel.Mdp(transitions, ends, initial_distribution=[1, 0, 0, 0, 0])
    if not known:
        mdp = bilevel.Mdp(num_states=STATES, num_actions=ACTIONS, initial_distribution=[1, 0, 0, 0, 0])
    reward = bilevel.Reward(features=rng.normal(size=(STATES, ACTIONS, 2)))
    leader = bilevel.LeaderReturn(bilevel.Reward(base=rng.normal(size=(STATES, ACTIONS))))
    context = bilevel.Context(mdp, 0.8, 0.5, reward, [leader])
    return bilevel.Problem([context], num_parameters=2, sense="maximize")


class World:
    """Steps of world() in Gymnasium's manner."""

    def __init__(self, seed=0):
        self._mdp = world().contexts[0].mdp
        self._rng = np.random.default_rng(seed)
        self._state = 0

    def reset(self, seed=None):
        self._state = 0
        return 0, {}

    def set_state(self, state):
        self._state = state

    def step(self, action):
        row = self._mdp.transitions[self._state, action]
        following = int(np.searchsorted(np.cumsum(row), self._rng.random(), side="right"))
        ended = following >= STATES
        self._state = 0 if ended else following
        return self._state, 0.0, ended, False, {}


def walk(count, seed=2):
    """Columns of a walker that tries everything alike and gives up one time in thirty."""
    rng = np.random.default_rng(seed)
    walker, state, episode, rows = World(seed), 0, 1, []
    for _ in range(count):
        action = int(rng.integers(ACTIONS))
        following, _, ended, _, _ = walker.step(action)
        kind = 1 if ended else 2 if rng.integers(30) == 0 else 0
        rows.append((episode, state, action, following, kind))
        if kind:
            walker.reset()
            state, episode = 0, episode + 1
        else:
            state = following
    names = ("episode", "state", "action", "next_state", "kind")
    return {name: np.array(values) for name, values in zip(names, zip(*rows))}
