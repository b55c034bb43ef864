"""ListPolicies: pages of the newest revisions of a jurisdiction's policies."""

from __future__ import annotations

from hutong.policy.v1.policy_service_pb2 import ListPoliciesRequest, ListPoliciesResponse

from services.domain.instant import from_timestamp
from services.domain.names import parse_jurisdiction
from services.policy.convert import revision_to_proto
from services.policy.resolve import series_segments
from services.policy.shelf import Shelf
from services.runtime.pages import decode_page_token, encode_page_token, page_size

EVERYWHERE = "-"


def list_policies(shelf: Shelf, request: ListPoliciesRequest) -> ListPoliciesResponse:
    """One page, by name; with in_force_time the revisions that are in force then, and no others."""
    region = parse_jurisdiction(request.parent)
    at = from_timestamp(request.in_force_time) if request.HasField("in_force_time") else None
    position = decode_page_token(request)
    after = (position[0], position[1]) if position else ("", "")
    size = page_size(request.page_size)
    found = []
    for key in sorted(key for key in shelf.book.series if key > after and region in (EVERYWHERE, key[0])):
        members = shelf.series(*key)
        if at is None:
            found.append(members[-1])
        else:
            found += [segment.revision for segment in series_segments(members) if segment.holds(at)]
        if len(found) > size:
            break
    shown = found[:size]
    token = encode_page_token(request, list(shown[-1].series)) if len(found) > size else ""
    return ListPoliciesResponse(policies=[revision_to_proto(revision) for revision in shown], next_page_token=token)
