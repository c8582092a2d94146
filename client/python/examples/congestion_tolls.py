"""Tolls that depend on where an agent actually goes, learned by PyTorch through the soft-optimal policy.

Two parallel roads of three cells lead from the start to work. The short road saves time, and everybody takes it; the
city wants half of the traffic on each. Rain makes cells slippery, so where an action leads is random, and the toll of a
step is charged by the transition that happens: expected toll of (s, a) = sum over s2 of P(s2|s,a) toll(s, s2). Both the
toll and the road's slipperiness (through P itself) are parameters; PyTorch sees one differentiable function.

    python congestion_tolls.py [SERVER_ADDRESS]      # starts a server of its own without one
"""

import contextlib
import sys

import torch

import bilevel
import bilevel.torch

START, SHORT, LONG, WORK = 0, (1, 2, 3), (4, 5, 6), 7
NUM_STATES, NUM_ACTIONS = 8, 2  # actions: towards the short road, towards the long one
DISCOUNT, TEMPERATURE = 0.95, 0.2


def transitions(slip):
    """[S, A, S]: on a road both actions go on; with probability slip the agent stays. Work ends the day."""
    P = torch.zeros(NUM_STATES, NUM_ACTIONS, NUM_STATES, dtype=torch.float64)
    for first, road in enumerate((SHORT, LONG)):
        P[START, first, road[0]] = 1
    moves = torch.zeros_like(P)
    stays = torch.zeros_like(P)
    for road in (SHORT, LONG):
        for cell, following in zip(road, (*road[1:], WORK)):
            moves[cell, :, following] = 1
            stays[cell, :, cell] = 1
    # The row of WORK stays empty: what a row lacks to one ends the episode.
    return P + (1 - slip) * moves + slip * stays


def traffic(policy):
    """Share of agents that take each road."""
    return policy[START]


def main(client):
    time = torch.zeros(NUM_STATES, NUM_ACTIONS, dtype=torch.float64)
    time[list(SHORT)] = -1.0
    time[list(LONG)] = -1.3

    toll = torch.zeros(NUM_STATES, NUM_STATES, dtype=torch.float64, requires_grad=True)  # toll(s, s2)
    slip = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([toll], lr=0.05)
    layer = bilevel.torch.SoftPolicyLayer(client)

    def answer():
        P = transitions(slip)
        reward = time - (P * toll[:, None, :]).sum(-1)
        return layer(reward, P, DISCOUNT, TEMPERATURE)

    print("before: share of the short road", f"{traffic(answer().policy)[0]:.3f}")
    for step in range(200):
        optimizer.zero_grad()
        loss = (traffic(answer().policy) - 0.5).square().sum() + 1e-4 * toll.square().sum()
        loss.backward()
        optimizer.step()
    shares = traffic(answer().policy)
    print("after:  share of the short road", f"{shares[0]:.3f}")
    print("tolls of the short road's steps ", [f"{toll[a, b]:.3f}" for a, b in zip(SHORT, (*SHORT[1:], WORK))])

    # What would more rain do? The derivative goes through the transition probabilities.
    (sensitivity,) = torch.autograd.grad(shares[0], slip, retain_graph=True)
    with torch.no_grad():
        slip += 1e-4
        ahead = traffic(answer().policy)[0]
        slip -= 2e-4
        behind = traffic(answer().policy)[0]
        slip += 1e-4
    print(f"d share / d slip {sensitivity:.6f}, by differences {(ahead - behind) / 2e-4:.6f}")
    right = abs(shares[0] - 0.5) < 0.02 and abs(sensitivity - (ahead - behind) / 2e-4) < 1e-5
    return 0 if right else 1


if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        address = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(bilevel.Server()).address
        code = main(stack.enter_context(bilevel.Client(address)))
    sys.exit(code)
