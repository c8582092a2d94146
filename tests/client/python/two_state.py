"""client/problems/two_state.h in Python: every answer by hand."""

import bilevel

# State 1 pays the follower x a step; the leader earns 1 - x there. phi(x) = (1 - x) / (1 + exp(-x)).
OPTIMUM = -0.567143290409784


def two_state() -> bilevel.Problem:
    go = [[[1, 0], [0, 1]], [[1, 0], [0, 1]]]
    return bilevel.Problem(
        num_parameters=1,
        sense="maximize",
        contexts=[
            bilevel.Context(
                mdp=bilevel.Mdp(go, initial_distribution=[1, 0]),
                discount=0.5,
                temperature=0.5,
                reward=bilevel.Reward(features=[[[0.0], [0.0]], [[1.0], [1.0]]]),
                objective=[
                    bilevel.LeaderReturn(
                        bilevel.Reward(base=[[0, 0], [1, 1]], features=[[[0.0], [0.0]], [[-1.0], [-1.0]]])
                    )
                ],
                label="two states",
            )
        ],
    )
