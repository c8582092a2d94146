"""Preferences between fragments of trajectories, which sessions learn from."""

from __future__ import annotations

import dataclasses
from typing import Any, Union

import numpy.typing as npt

from bilevel import v1
from bilevel.arrays import to_array


@dataclasses.dataclass(frozen=True)
class FragmentRange:
    """Steps of a trajectory that the session has seen, the first being 0."""

    episode: int
    first_step: int
    count: int
    writer_id: str = "default"

    def to_proto(self) -> Any:
        message = v1.Fragment()
        message.range.writer_id = self.writer_id
        message.range.episode_id = self.episode
        message.range.first_step = self.first_step
        message.range.count = self.count
        return message


@dataclasses.dataclass(frozen=True, eq=False)
class FragmentSteps:
    """Steps that the session may never have seen: states and actions, [k] each."""

    state: npt.ArrayLike
    action: npt.ArrayLike
    context: int = 0

    def to_proto(self) -> Any:
        message = v1.Fragment()
        message.steps.state.CopyFrom(to_array(self.state, "u4"))
        message.steps.action.CopyFrom(to_array(self.action, "u4"))
        message.steps.context = self.context
        return message


Fragment = Union[FragmentRange, FragmentSteps]


@dataclasses.dataclass(frozen=True, eq=False)
class Preference:
    """What somebody thinks of two fragments: 1 where the first is preferred, 0 the second, 0.5 neither."""

    first: Fragment
    second: Fragment
    first_preferred: float = 1.0

    def to_proto(self) -> Any:
        return v1.Preference(
            first=self.first.to_proto(), second=self.second.to_proto(), first_preferred=self.first_preferred
        )
