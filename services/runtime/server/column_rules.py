"""Checks many messages of one type by the rules of the contract, in columns.

The engine of protovalidate reads each field of each message through Python, which takes a fifth of the time of a
validation. Nearly all uploads break no rule, and their columns show this at a fifth of that cost. The engine still
finds out which rule a message breaks, and checks rules that are not known here.

The checks are made from the options in the .proto files, so a rule that is changed there is changed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.domain.instant import from_timestamp

Column = Collection[Any]
Check = Callable[[Column], bool]

_ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
_NOT_PLAIN = re.compile(r"[\\.^$|]|\(\?")
"""Matches syntax that might have another meaning in RE2, the syntax of the contract, than in Python."""


class _Unknown(Exception):
    """A rule that is not known here."""


class ColumnRules:
    """The rules of one message type.

    Args:
        message: the type.
        elsewhere: the fields that the caller checks in another way, such as messages that have rules of their own. Of
            messages in a repeated field only the number is checked here.
    """

    def __init__(self, message: Descriptor, elsewhere: Collection[str] = ()) -> None:
        self._checks: dict[str, list[Check]] | None = {}
        try:
            if message.oneofs or _has_rules(message):
                raise _Unknown
            fields = [field for field in message.fields if field.name not in elsewhere]
            self._checks = {field.name: checks for field in fields if (checks := list(_checks_of(field)))}
        except _Unknown:
            self._checks = None

    @property
    def are_known(self) -> bool:
        """Whether every rule of the type is known here. Otherwise `are_kept` is always false."""
        return self._checks is not None

    def are_kept(self, columns: Mapping[str, Column]) -> bool:
        """Return whether the messages surely keep every rule. If not, the engine must check them.

        Args:
            columns: the values of each field that has rules. A time is an instant, or None if it is not set. Of a
                repeated field, a column has the number of its elements.
        """
        return self._checks is not None and all(
            check(columns[name]) for name, checks in self._checks.items() for check in checks
        )


def _has_rules(message: Descriptor) -> bool:
    """Return whether a message has rules beside those of its fields."""
    rules: validate_pb2.MessageRules = message.GetOptions().Extensions[validate_pb2.message]  # type: ignore[index]
    return bool(rules.ListFields())


def _checks_of(field: FieldDescriptor) -> Iterable[Check]:
    """Yield the checks of a field's column.

    Raises:
        _Unknown: a rule is not known.
    """
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]  # type: ignore[index]
    kind = rules.WhichOneof("type")
    stated = {option.name: value for option, value in rules.ListFields()}
    ignores_zero = stated.pop("ignore", validate_pb2.IGNORE_UNSPECIFIED) == validate_pb2.IGNORE_IF_ZERO_VALUE
    is_time = field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
    if field.message_type is not None and not is_time and kind != "repeated":
        raise _Unknown
    if stated.pop("required", False):
        zero = None if is_time else 0 if field.is_repeated else field.default_value
        yield lambda column: zero not in column
    if kind is None:
        checks: list[Check] = []
    else:
        del stated[kind]
        checks = [_check_of(field, kind, option, value) for option, value in getattr(rules, kind).ListFields()]
    if stated:
        raise _Unknown
    for check in checks:
        if ignores_zero:
            yield lambda column, check=check: check([value for value in set(column) if value])  # type: ignore[misc]
        else:
            yield check


def _check_of(field: FieldDescriptor, kind: str, option: FieldDescriptor, value: Any) -> Check:
    """Return the check of one rule. Empty columns keep all rules."""
    match kind, option.full_name.removeprefix("buf.validate."):
        case "string", "StringRules.max_len":
            return lambda column: max(map(len, column), default=0) <= value
        case "string", "StringRules.pattern":
            matches = _compile(value).fullmatch
            return lambda column: all(map(matches, column))
        case "enum", "EnumRules.defined_only" if value and field.enum_type is not None:
            return set(field.enum_type.values_by_number).issuperset
        case "int32" | "int64", "Int32Rules.gte" | "Int64Rules.gte":
            return lambda column: min(column, default=value) >= value
        case "int32" | "int64", "Int32Rules.lte" | "Int64Rules.lte":
            return lambda column: max(column, default=value) <= value
        case "repeated", "RepeatedRules.min_items":
            return lambda column: min(column, default=value) >= value
        case "repeated", "RepeatedRules.max_items":
            return lambda column: max(column, default=value) <= value
        case "timestamp", "TimestampRules.gte":
            least = from_timestamp(value)
            return lambda column: min((time for time in column if time is not None), default=least) >= least
        case _:
            raise _Unknown


def _compile(pattern: str) -> re.Pattern[str]:
    """Return the expression between the anchors of a pattern. It means the same in RE2 and in Python."""
    inner = pattern.removeprefix("^").removesuffix("$")
    if f"^{inner}$" != pattern or _NOT_PLAIN.search(_ESCAPED.sub("", inner).replace("[^", "[")):
        raise _Unknown
    return re.compile(inner)
