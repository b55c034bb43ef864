"""Conversion of replicated laboratories."""

from __future__ import annotations

from hutong.exchange.v1 import replica_pb2

from services.domain.fields import read_instant
from services.domain.instant import set_timestamp
from services.domain.names import format_lab, format_node, parse_lab, parse_node
from services.results.exchange.convert.fields import instant_of
from services.results.labs.convert import key_to_proto, stated_keys
from services.results.labs.model import Lab, StandingChange


def fill_lab(message: replica_pb2.ReplicatedLab, lab: Lab) -> None:
    """Fill an empty message with a laboratory."""
    message.name = format_lab(lab.uscc)
    message.display_name = lab.display_name
    message.region = lab.region
    if lab.authorize_time is not None:
        set_timestamp(message.authorize_time, lab.authorize_time)
    set_timestamp(message.create_time, lab.create_time)
    for change in lab.changes:
        standing = message.standings.add(standing=change.standing, reason=change.reason)
        if change.effective_time is not None:
            set_timestamp(standing.effective_time, change.effective_time)
        set_timestamp(standing.record_time, change.record_time)
    if lab.home:
        message.home_node = format_node(lab.home)
    message.signing_keys.extend(map(key_to_proto, lab.signing_keys))
    if lab.contact is not None:
        message.contact = lab.contact


def lab_from_proto(message: replica_pb2.ReplicatedLab) -> Lab:
    """Return a laboratory. Raise InvalidArgument for a laboratory that no node can have sent."""
    return Lab(
        parse_lab(message.name, "lab.name"),
        message.display_name,
        message.region,
        message.contact if message.HasField("contact") else None,
        instant_of(message, "authorize_time"),
        read_instant(message.create_time, "lab.create_time"),
        tuple(
            StandingChange(
                change.standing,
                instant_of(change, "effective_time"),
                change.reason,
                read_instant(change.record_time, "lab.standings.record_time"),
            )
            for change in message.standings
        ),
        parse_node(message.home_node, "lab.home_node") if message.home_node else "",
        stated_keys(message.signing_keys),
    )
