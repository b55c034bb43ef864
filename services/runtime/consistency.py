"""Consistency tokens: the position of a commit in the log of one service of one node.

A token names a position and not an instant, so that clocks never decide whether a write is visible. The position names
one commit: the service, the region of the node, the life of its database, the writer, and the sequence of the commit
among the writer's commits. `services.storage.life` says what a life is. Callers must not interpret tokens.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hutong_texts import english

from services.domain.base64url import decode_base64url, encode_base64url
from services.domain.errors import InvalidArgument

_FORM = re.compile(r"2/(results|policy|verification)/([0-9]{6})/([0-9a-f-]{0,36})/([0-9]{1,9})/([0-9]{1,18})")


class LogPosition(NamedTuple):
    """The position of a commit in a log.

    Attributes:
        life: the life of the database in which the commit was made; empty if the commit is older than ids of lives.
        writer: the writer that made the commit.
        sequence: the number of the commit among the writer's commits. Sequence 0 is before the first commit; every log
            has reached that position.
    """

    life: str
    writer: int
    sequence: int


BEFORE_ANY = LogPosition("", 0, 0)
"""The position of a call that wrote nothing and does not repeat an earlier call."""


class CommitPosition(NamedTuple):
    """The content of a token: a service, its node's region, and a position in its log."""

    service: str
    region: str
    position: LogPosition


def encode_token(commit: CommitPosition) -> str:
    """Return the token for a position. It has at most 130 characters."""
    life, writer, sequence = commit.position
    text = f"2/{commit.service}/{commit.region}/{life}/{writer}/{sequence}"
    return encode_base64url(text.encode())


def decode_token(token: str, field: str = "at_least_as_fresh") -> CommitPosition | None:
    """Return the content of a caller's token; None for the empty token.

    Raises:
        InvalidArgument: INVALID_CONSISTENCY_TOKEN, the token was not issued by this system.
    """
    commit = read_token(token)
    if token and commit is None:
        raise InvalidArgument.field(field, english("is not a token of this system"), "INVALID_CONSISTENCY_TOKEN")
    return commit


def read_token(token: str) -> CommitPosition | None:
    """Return the content of a token; None for the empty token and for a token that was not issued by this system."""
    if not token:
        return None
    try:
        text = decode_base64url(token).decode()
    except ValueError:
        text = ""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    service, region, life, writer, sequence = match.groups()
    return CommitPosition(service, region, LogPosition(life, int(writer), int(sequence)))
