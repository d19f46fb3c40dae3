"""How a stream or consumer differs from what is expected, field by field. Pure.

Only the fields that are expected are compared; the server fills in many more.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import shlex
from typing import TYPE_CHECKING, Any, Final

from eiderd.units import spell_duration, spell_size
from eiderd.words import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eiderd.broker.evidence import Config


class Change(enum.StrEnum):
    """What it would take to make a field as expected."""

    PLAIN = "plain"
    REMOVES = "removes"  # the server would remove messages at once
    FIXED = "fixed"  # only a new stream or consumer can have it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field (`key` is the API's, `field` the configuration's) that is not as expected."""

    key: str
    field: str
    wanted: Any
    found: Any
    change: Change

    @property
    def said(self) -> str:
        wanted, found = spelled(self.key, self.wanted), spelled(self.key, self.found)
        return f"{self.field} is {found} and should be {wanted}"


_FIELDS: Final = {
    "num_replicas": "replicas",
    "max_msgs": "max_messages",
    "max_msgs_per_subject": "max_messages_per_subject",
    "max_msg_size": "max_message_size",
    "allow_rollup_hdrs": "allow_rollup",
    "filter_subject": "filter_subjects",
}
_TIMES: Final = {"max_age", "duplicate_window", "ack_wait", "inactive_threshold"}
_SIZES: Final = {"max_bytes", "max_msg_size"}
_BOUNDS: Final = {"max_age", "max_bytes", "max_msgs", "max_msgs_per_subject"}
_UNLIMITED: Final = _BOUNDS | {"max_msg_size", "max_deliver"}
_FIXED: Final = {"storage", "retention", "deliver_policy", "ack_policy", "replay_policy",
                 "deliver_group"}  # fmt: skip
_LONGEST: Final = 10**9 * 86_400 * 36_500
_FLAGS: Final = {  # of `nats stream edit`
    "max_age": "--max-age",
    "max_bytes": "--max-bytes",
    "max_msgs": "--max-msgs",
    "max_msgs_per_subject": "--max-msgs-per-subject",
}


def differences(*, wanted: Config, found: Config) -> tuple[Difference, ...]:
    """Return the fields in which what was found is not what is wanted, in the order of `wanted`."""
    return tuple(
        Difference(
            key=key,
            field=_FIELDS.get(key, key),
            wanted=value,
            found=_value(found, key, like=value),
            change=_change(key, value, _value(found, key, like=value)),
        )
        for key, value in wanted.items()
        if _comparable(value) != _comparable(_value(found, key, like=value))
    )


def command(stream: str, found: Sequence[Difference]) -> str:
    """Return what to type about the differences of a stream (or of one of its consumers)."""
    if any(one.change is Change.PLAIN for one in found):
        return "eider nats ensure --drift --dry-run"
    flags = [
        f"{_FLAGS[one.key]}={spelled(one.key, one.wanted, for_nats=True)}"
        for one in found
        if one.change is Change.REMOVES
    ]
    if flags:
        return shlex.join(["nats", "stream", "edit", stream, *flags])
    return shlex.join(["nats", "stream", "info", stream])


def spelled(key: str, value: object, *, for_nats: bool = False) -> str:
    """Return a value as a person writes it; `for_nats`, as the official command reads it."""
    match value:
        case bool():
            return str(value).lower()
        case int() if key in _UNLIMITED and value <= 0:
            return "unlimited"
        case int() if key in _TIMES:
            return f"{value // 10**9}s" if for_nats else _duration(value)
        case int() if key in _SIZES and not for_nats:
            return spell_size(value)
        case list() | tuple():
            return ", ".join(plain(str(one)) for one in value) or "none"
        case _:
            return plain(str(value)) or "none"


def _duration(nanoseconds: int) -> str:
    if nanoseconds % 10**6 or nanoseconds > _LONGEST:
        return f"{nanoseconds} ns"
    return spell_duration(datetime.timedelta(milliseconds=nanoseconds // 10**6))


def _value(found: Mapping[str, Any], key: str, *, like: object) -> Any:  # noqa: ANN401  (any field)
    """Return a field as the server has it. What is zero is often left out."""
    value = found.get(key)
    if key == "filter_subject" and value is None:
        several = found.get("filter_subjects")
        return several or ""
    if key == "filter_subjects" and value is None:
        return [found["filter_subject"]] if found.get("filter_subject") else []
    return type(like)() if value is None else value


def _comparable(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, list | tuple) else value


def _change(key: str, wanted: Any, found: Any) -> Change:  # noqa: ANN401
    if key in _FIXED:
        return Change.FIXED
    if key in _BOUNDS:
        unlimited = not isinstance(found, int) or found <= 0
        return Change.REMOVES if unlimited or wanted < found else Change.PLAIN
    return Change.PLAIN
