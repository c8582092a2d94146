"""The JSON of the command line: the text that `bilevel example` prints, number by number and line by line."""

from __future__ import annotations

import base64
import math
from json import dumps
from typing import Any

from google.protobuf import json_format

from bilevel.arrays import make_readable

_WIDTH = 100


def _number(value: float) -> str:
    # As protobuf's C++ library writes doubles: 15 digits where they suffice, else 17.
    if math.isnan(value):
        return '"NaN"'
    if math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    short = format(value, ".15g")
    return short if float(short) == value else format(value, ".17g")


def _scalar(field: Any, value: Any) -> str:
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return _number(value)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return "true" if value else "false"
    if field.cpp_type == field.CPPTYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return str(value) if known is None else dumps(known.name)
    if field.type == field.TYPE_BYTES:
        return dumps(base64.b64encode(value).decode())
    if field.cpp_type == field.CPPTYPE_STRING:
        return dumps(value, ensure_ascii=False)
    return str(value)


def _repeated(field: Any) -> bool:
    # is_repeated replaced label in protobuf 6.30.
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


class _Writer:
    """Two blanks a level; lists of scalars fill lines instead of taking one line an element."""

    def __init__(self) -> None:
        self._lines = [""]

    def _new_line(self, depth: int) -> None:
        self._lines.append("  " * depth)

    def _put(self, text: str) -> None:
        self._lines[-1] += text

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def message(self, message: Any, depth: int) -> None:
        fields = message.ListFields()
        if not fields:
            self._put("{}")
            return
        self._put("{")
        for i, (field, value) in enumerate(fields):
            self._put("," if i else "")
            self._new_line(depth + 1)
            self._put(dumps(field.name) + ": ")
            self._value(field, value, depth + 1)
        self._new_line(depth)
        self._put("}")

    def _value(self, field: Any, value: Any, depth: int) -> None:
        if field.cpp_type != field.CPPTYPE_MESSAGE:
            if _repeated(field):
                self._scalars([_scalar(field, item) for item in value], depth)
            else:
                self._put(_scalar(field, value))
        elif _repeated(field):
            self._put("[")
            for i, item in enumerate(value):
                self._put("," if i else "")
                self._new_line(depth + 1)
                self.message(item, depth + 1)
            self._new_line(depth)
            self._put("]")
        else:
            self.message(value, depth)

    def _scalars(self, items: list[str], depth: int) -> None:
        line = self._lines.pop() + "["
        for i, item in enumerate(items):
            item += "]" if i + 1 == len(items) else ","
            if i and len(line) + len(item) + 1 > _WIDTH:
                self._lines.append(line)
                line = "  " * (depth + 1) + item
            else:
                line += (" " if i else "") + item
        self._lines.append(line)


def to_json(message: Any) -> str:
    """A message as people read it: lists of numbers instead of raw bytes."""
    readable = type(message)()
    readable.CopyFrom(message)
    make_readable(readable)
    writer = _Writer()
    writer.message(readable, 0)
    return writer.text()


def from_json(text: str, message: Any) -> Any:
    """Fills `message` from JSON. ValueError names what is no JSON or no field."""
    try:
        return json_format.Parse(text, message)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error
