"""The messages of bilevel/v1/*.proto, for what the classes of this package do not say.

    from bilevel import v1
    request = v1.PullbackRequest(problem=..., return_transition_gradient=True)

The .proto files document every field. Message classes and enums are made here from the descriptors of the package,
with the protobuf that is installed.
"""

from __future__ import annotations

import enum
import pathlib
from typing import Any, Iterator, NamedTuple

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2

_PACKAGE = "bilevel.v1"
# Importing them puts their files into the pool, which those of this package need.
_WELL_KNOWN = (any_pb2, duration_pb2, timestamp_pb2)


def _message_class(pool: Any, descriptor: Any) -> Any:
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # before protobuf 4.22


def _in_order(files: Any) -> Iterator[Any]:
    """Each file after those that it imports."""
    by_name = {file.name: file for file in files}
    seen: set[str] = set()

    def visit(file: Any) -> Iterator[Any]:
        if file.name in seen:
            return
        seen.add(file.name)
        for name in file.dependency:
            if name in by_name:
                yield from visit(by_name[name])
        yield file

    for file in files:
        yield from visit(file)


class Method(NamedTuple):
    """One call of a service."""

    path: str
    request: Any
    response: Any
    server_streaming: bool
    client_streaming: bool


def _load() -> dict[str, Any]:
    data = (pathlib.Path(__file__).parent / "descriptors.bin").read_bytes()
    pool = descriptor_pool.Default()
    names: dict[str, Any] = {"METHODS": {}}
    for file in _in_order(descriptor_pb2.FileDescriptorSet.FromString(data).file):
        pool.AddSerializedFile(file.SerializeToString())
        # google.rpc's error details under this package's name get their own prefix: rpc_Status.
        prefix = file.package[len(_PACKAGE) + 1 :]
        prefix = f"{prefix}_" if prefix else ""
        for message in file.message_type:
            descriptor = pool.FindMessageTypeByName(f"{file.package}.{message.name}")
            names[prefix + message.name] = _message_class(pool, descriptor)
        for kind in file.enum_type:
            names[kind.name] = enum.IntEnum(kind.name, {value.name: value.number for value in kind.value})
            names.update(names[kind.name].__members__)
        for service in file.service:
            for method in service.method:
                names["METHODS"][method.name] = Method(
                    path=f"/{file.package}.{service.name}/{method.name}",
                    request=_message_class(pool, pool.FindMessageTypeByName(method.input_type.lstrip("."))),
                    response=_message_class(pool, pool.FindMessageTypeByName(method.output_type.lstrip("."))),
                    server_streaming=method.server_streaming,
                    client_streaming=method.client_streaming,
                )
    return names


METHODS: dict[str, Method]

globals().update(_load())


def __getattr__(name: str) -> Any:
    raise AttributeError(f"bilevel.v1 has no message or enum {name}")
