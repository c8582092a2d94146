"""four_rooms_by_hand.py FILE: the objectives that `four_rooms_optima --json FILE` found, computed once more by hand.

From the published specification of Four-Rooms alone (Thoma et al. 2024, arXiv:2406.01575), with NumPy: soft value
iteration for the follower, then value iteration for the leader. Exit code 1 when an objective differs by more than
1e-9, or when the values at x = 0 are not those of the specification.
"""

import json
import sys

import numpy as np

MAP = """
xxxxxxxxxxxxx
x     x     x
x     x     x
x           x
x     x     x
x     x     x
xx xxxx     x
x     xxx xxx
x     x     x
x     x     x
x           x
x     x     x
xxxxxxxxxxxxx
""".strip().splitlines()
CELLS = [(row, col) for row in range(13) for col in range(13) if MAP[row][col] != "x"]
STATE = {cell: state for state, cell in enumerate(CELLS)}
MOVES = [(-1, 0), (0, 1), (1, 0), (0, -1)]  # up, right, down, left
INTENDED = 0.56
DISCOUNT = 0.99
BUDGET = 0.2
START, TARGET = STATE[4, 1], STATE[8, 4]
TOLERANCE = 1e-9

# F(0) of the specification: temperature, beta, goals, value.
AT_ZERO = [
    (0.001, 1, [(1, 9), (11, 11)], 0.288158),
    (0.001, 3, [(1, 9), (11, 11)], 0.013268),
    (0.001, 5, [(1, 9), (11, 11)], -0.261623),
    (0.001, 1, [(1, 9)], -0.147461),
    (0.001, 1, [(11, 11)], 0.723777),
]


def transitions(goal):
    """P [S, A, S]; the rows of the goal are 0, since the episode ends there."""
    P = np.zeros((len(CELLS), 4, len(CELLS)))
    for state, (row, col) in enumerate(CELLS):
        for action in range(4):
            for move, (down, right) in enumerate(MOVES):
                successor = STATE.get((row + down, col + right), state)
                P[state, action, successor] += INTENDED if move == action else (1 - INTENDED) / 3
    P[goal] = 0
    return P


def iterate(update, v):
    """The fixed point of a contraction by DISCOUNT: iterates until rounding alone moves it."""
    for _ in range(20000):
        old, v = v, update(v)
        if np.max(np.abs(v - old)) <= 1e-16 * max(1, np.max(np.abs(v))):
            break
    return v


def leader_return(x, temperature, beta, goal):
    """E sum_t gamma^t f(s_t) under the follower's soft-optimal policy, for one goal; x: [105]."""
    P = transitions(goal)
    share = np.exp(x - np.max(x))
    share /= np.sum(share)
    reward = -BUDGET * share[:104]
    reward[goal] = 1

    def q(v):
        return reward[:, None] + DISCOUNT * (P.reshape(-1, len(CELLS)) @ v).reshape(-1, 4)

    def soft_maximum(v):
        values = q(v)
        top = np.max(values, axis=1)
        return top + temperature * np.log(np.sum(np.exp((values - top[:, None]) / temperature), axis=1))

    values = q(iterate(soft_maximum, np.zeros(len(CELLS))))
    policy = np.exp((values - np.max(values, axis=1, keepdims=True)) / temperature)
    policy /= np.sum(policy, axis=1, keepdims=True)

    gain = np.zeros(len(CELLS))
    gain[TARGET] = 1
    gain[goal] = -beta * BUDGET * (1 - share[104])
    P_policy = np.einsum("sa,sat->st", policy, P)
    return iterate(lambda v: gain + DISCOUNT * (P_policy @ v), np.zeros(len(CELLS)))[START]


def objective(x, temperature, beta, goals):
    return np.mean([leader_return(x, temperature, beta, STATE[tuple(goal)]) for goal in goals])


def main(path):
    failed = False
    for temperature, beta, goals, expected in AT_ZERO:
        if abs(objective(np.zeros(105), temperature, beta, goals) - expected) > 1e-6:
            print(f"F(0) at {temperature}, {beta}, {goals} is not {expected}")
            failed = True
    with open(path) as file:
        settings = json.load(file)
    for setting in settings:
        arguments = setting["temperature"], setting["beta"], setting["goals"]
        differences = [
            abs(objective(np.array(point["parameters"]), *arguments) - point["objective"])
            for point in setting["points"]
        ]
        ok = max(differences) <= TOLERANCE
        failed |= not ok
        print(
            f"lambda {arguments[0]:g} beta {arguments[1]:g}, {len(arguments[2])} goals: {len(differences)} points,"
            f" largest difference {max(differences):.1e} {'ok' if ok else 'FAIL'}",
            flush=True,
        )
    sys.exit(1 if failed or not settings else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
