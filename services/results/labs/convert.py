"""Conversion between laboratories and messages."""

from __future__ import annotations

from collections.abc import Iterable

from hutong.results.v1 import lab_pb2, lab_service_pb2
from hutong_client.reports.signed import BadSignedReport, key_id, load_public_key
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.fields import known_region
from services.domain.instant import Instant, from_timestamp, optional_timestamp, to_timestamp
from services.domain.names import format_lab, parse_lab
from services.domain.normal_form import normal_form
from services.domain.region import NATION
from services.results.labs.model import Lab, LabQuery, SigningKey, StandingChange
from services.runtime.server.validation import check

_UPDATED = ("display_name", "contact")
"""The fields of a laboratory that UpdateLab changes."""


def lab_from_proto(lab: lab_pb2.Lab, now: Instant) -> Lab:
    """Return a laboratory to register now. Raises InvalidArgument for a wrong code or an unknown region."""
    uscc = parse_lab(lab.name, "lab.name")
    known_region(lab.region, "lab.region")
    authorize_time = from_timestamp(lab.authorize_time) if lab.HasField("authorize_time") else None
    return Lab(uscc, lab.display_name, lab.region, lab.contact, authorize_time, now, ())


def values_from_proto(request: lab_service_pb2.UpdateLabRequest) -> dict[str, str]:
    """Return the new values of the fields that the request's mask names.

    Raises:
        InvalidArgument: the mask names another field, or nothing is to be changed, or a value breaks a rule of Lab.
    """
    stated = {name: getattr(request.lab, name) for name in _UPDATED}
    paths = set(request.update_mask.paths)
    if not paths:
        paths = {name for name, value in stated.items() if value}
    elif paths == {"*"}:
        paths = set(_UPDATED)
    if not paths or not paths <= stated.keys():
        raise InvalidArgument.field("update_mask", english('must name display_name, contact, both, or "*"'))
    # The request is checked as that of a whole laboratory, whose other fields are valid.
    whole = lab_pb2.Lab(name=request.lab.name, display_name="x", region=NATION)
    for name in paths:
        setattr(whole, name, stated[name])
    check(lab_service_pb2.CreateLabRequest(lab=whole))
    return {name: stated[name] for name in paths}


def query_from_proto(request: lab_service_pb2.ListLabsRequest) -> LabQuery:
    """Return the filter of a listing. Raises InvalidArgument if a region is unknown or a name is blank."""
    return LabQuery(
        known_region(request.region, "region") if request.region else "",
        _form(request.display_name, "display_name"),
        _form(request.display_name_prefix, "display_name_prefix"),
    )


def _form(name: str, field: str) -> str:
    """Return the normal form of the name to search for; empty if the request has none."""
    form = normal_form(name)
    if name and not form:
        raise InvalidArgument.field(field, english("has no visible character"))
    return form


def lab_to_proto(
    lab: Lab, now: Instant, *, with_history: bool = True, with_actors: bool = False, with_contact: bool = True
) -> lab_pb2.Lab:
    """Return a laboratory's message with its standing now."""
    return lab_pb2.Lab(
        name=format_lab(lab.uscc),
        display_name=lab.display_name,
        region=lab.region,
        contact=lab.contact or "" if with_contact else "",
        authorize_time=optional_timestamp(lab.authorize_time),
        standing=lab.standing_at(now),
        standing_changes=[_change_to_proto(it, with_actors) for it in lab.changes] if with_history else (),
        create_time=to_timestamp(lab.create_time),
        signing_keys=[key_to_proto(key, with_actor=with_actors) for key in lab.signing_keys] if with_history else (),
    )


def key_from_proto(message: lab_pb2.LabSigningKey, now: Instant, actor: str | None) -> SigningKey:
    """Return a key to record now. Raises InvalidArgument if no report can be signed with it."""
    try:
        load_public_key(message.public_key)
    except BadSignedReport as error:
        raise InvalidArgument.field("signing_key.public_key", error.text) from error
    revoke_time = from_timestamp(message.revoke_time) if message.HasField("revoke_time") else None
    return SigningKey(message.public_key, now, revoke_time, actor)


def key_to_proto(key: SigningKey, *, with_actor: bool = False) -> lab_pb2.LabSigningKey:
    """Return a key's message."""
    return lab_pb2.LabSigningKey(
        public_key=key.public_key,
        revoke_time=optional_timestamp(key.revoke_time),
        key_id=key_id(key.public_key),
        create_time=to_timestamp(key.create_time),
        actor=key.actor or "" if with_actor else "",
    )


def stated_keys(messages: Iterable[lab_pb2.LabSigningKey]) -> tuple[SigningKey, ...]:
    """Return the signing keys in messages that another node has sent."""
    return tuple(
        [
            SigningKey(
                message.public_key,
                from_timestamp(message.create_time),
                from_timestamp(message.revoke_time) if message.HasField("revoke_time") else None,
            )
            for message in messages
        ]
    )


def _change_to_proto(change: StandingChange, with_actor: bool) -> lab_pb2.LabStandingChange:
    return lab_pb2.LabStandingChange(
        standing=change.standing,
        effective_time=optional_timestamp(change.effective_time),
        record_time=to_timestamp(change.record_time),
        reason=change.reason,
        actor=change.actor or "" if with_actor else "",
    )
