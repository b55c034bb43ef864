"""One look-up: decoded and checked. Other nodes get it without the document."""

from __future__ import annotations

from collections.abc import Sequence

from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.results.v1.results_service_pb2 import LookupLatestRequest

from services.domain.names import DEFAULT_ITEM, format_node, parse_items
from services.domain.region import NATION
from services.domain.subject import Pepper, holds_resident_number, mask_number
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
