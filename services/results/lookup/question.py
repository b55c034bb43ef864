"""One look-up: decoded and checked. Other nodes get it without the document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hutong.results.internal.v1.internal_lookup_service_pb2 import KeyedLookUps
from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.results.v1.results_service_pb2 import LookupLatestRequest
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.names import DEFAULT_ITEM, format_node, parse_items
from services.domain.region import NATION
from services.domain.subject import KEY_LENGTH, NAME_HASH_LENGTH, Pepper, holds_resident_number, mask_number
from services.results.fields import document_from_proto
from services.results.lookup.convert import claims_from_proto
from services.results.lookup.model import SubjectQuestion
from services.results.lookup.nationwide import not_fresh
from services.results.lookup.pick import DEFAULT_LIMIT
from services.runtime.consistency import decode_token

NOTHING = "*"
"""Replaces a report number or laboratory name that contains a resident identity number, before other nodes get it. The
replacement matches nothing."""


class Question:
    """One decoded look-up.

    `given_keys` are the subject keys of a request without a document; empty for a request with a document. `presenter`
    is who shows the claimed reports (`presenter_of`).

    Raises:
        InvalidArgument: a field is invalid.
        Unavailable: NOT_FRESH_ENOUGH, the token is of another service, so that this service never meets it.
    """

    __slots__ = (
        "claims",
        "items",
        "leaves_out_nation",
        "limit",
        "masked_number",
        "name_hashes",
        "nationwide",
        "other_key",
        "own_position",
        "presenter",
        "subject_key",
        "token",
    )

    def __init__(
        self,
        request: LookupLatestRequest,
        pepper: Pepper,
        jurisdiction: str,
        given_keys: tuple[bytes, bytes] = (b"", b""),
        *,
        compares_name: bool = False,
        presenter: str = "",
    ) -> None:
        # Only the nation knows what other nodes have committed. A token of another node therefore needs the nation.
        token, scope = request.at_least_as_fresh, request.scope
        commit = decode_token(token) if token else None
        if commit is not None and commit.service != "results":
            raise not_fresh(format_node(jurisdiction))
        elsewhere = commit is not None and commit.region != jurisdiction
        self.own_position = None if commit is None or elsewhere else commit.position
        self.token = token if elsewhere else ""
        self.limit = request.limit or DEFAULT_LIMIT
        items = request.items
        self.items = parse_items(items, "items") if items else (DEFAULT_ITEM,)
        self.nationwide = elsewhere or scope == LOOKUP_SCOPE_NATIONWIDE
        # Without a scope the look-up is local, although the caller has not chosen that. The answer then says that the
        # nation was not asked.
        self.leaves_out_nation = not self.nationwide and not scope and jurisdiction != NATION
        # The hashes of the name under both key versions. Without hashes, any name fits.
        self.name_hashes: Sequence[bytes] = ()
        self.masked_number = ""
        self.other_key: bytes | None
        if given_keys[0]:
            self.subject_key, self.other_key = given_keys[0], given_keys[1] or None
        else:
            stated = request.document
            document = document_from_proto(stated)
            self.subject_key, self.other_key = pepper.both_keys(document)
            if compares_name:
                self.name_hashes = pepper.name_hashes(stated.name)
            if self.nationwide:
                # Other nodes send no masks. The caller has stated the document, so that its mask may be returned.
                self.masked_number = mask_number(document.number)
        self.presenter = presenter
        claimed = request.claimed_reports
        self.claims = claims_from_proto(claimed) if claimed else ()

    @property
    def keys(self) -> tuple[bytes, bytes | None]:
        """The document's keys under each key version."""
        return self.subject_key, self.other_key

    def of_subject(self) -> SubjectQuestion:
        """Return the question as other nodes get it: without the document."""
        claims = tuple(
            claim._replace(
                report_number=NOTHING if holds_resident_number(claim.report_number) else claim.report_number,
                lab_name=NOTHING if holds_resident_number(claim.lab_name) else claim.lab_name,
            )
            for claim in self.claims
        )
        return SubjectQuestion(self.subject_key, self.limit, claims, self.token, self.items, self.other_key)


class KeyedQuestion(NamedTuple):
    """One look-up by subject key, with what a `Question` has of a local look-up without a token and without claims."""

    subject_key: bytes
    other_key: bytes | None
    name_hashes: Sequence[bytes]
    items: tuple[str, ...]
    limit: int
    own_position: None = None
    leaves_out_nation: bool = False


PlainQuestion = Question | KeyedQuestion


def questions_from_keyed(keyed: Iterable[KeyedLookUps]) -> list[KeyedQuestion]:
    """Return the look-ups by subject key, in order.

    Raises:
        InvalidArgument: a column has the wrong length, or a value of the wrong length.
    """
    found: list[KeyedQuestion] = []
    for index, group in enumerate(keyed):
        columns = [
            _column(group, index, "subject_keys", KEY_LENGTH, may_lack=False),
            _column(group, index, "other_subject_keys", KEY_LENGTH),
            _column(group, index, "name_hashes", NAME_HASH_LENGTH),
            _column(group, index, "other_name_hashes", NAME_HASH_LENGTH),
        ]
        items = parse_items(group.items, f"keyed[{index}].items") or (DEFAULT_ITEM,)
        limit = group.limit or DEFAULT_LIMIT
        for key, other_key, name_hash, other_hash in zip(*columns, strict=True):
            hashes = ((name_hash, other_hash) if other_hash else (name_hash,)) if name_hash else ()
            # `_make` takes about half the time of the constructor.
            found.append(KeyedQuestion._make((key, other_key or None, hashes, items, limit, None, False)))
    return found


def _column(group: KeyedLookUps, index: int, name: str, length: int, *, may_lack: bool = True) -> Sequence[bytes]:
    """Return a column with one value for each look-up. An empty column stands for as many empty values."""
    count = len(group.subject_keys)
    values: Sequence[bytes] = getattr(group, name) or [b""] * count
    lengths = {0, length} if may_lack else {length}
    if len(values) != count or not lengths.issuperset(map(len, values)):
        raise InvalidArgument.field(
            f"keyed[{index}].{name}",
            english("must have {key_length} bytes or none for each request", key_length=length),
        )
    return values
