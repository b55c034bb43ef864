"""ListPolicies: pages of the newest revisions of policies, of one jurisdiction or of all."""

from __future__ import annotations

from collections.abc import Iterator

from hutong.policy.v1.policy_service_pb2 import ListPoliciesRequest, ListPoliciesResponse

from services.domain.instant import from_timestamp
from services.domain.names import parse_jurisdiction
from services.policy.convert import revision_to_proto
from services.policy.model import SeriesKey
from services.policy.rules.resolve import PolicyBook, series_segments
from services.policy.serving.book_cache import PolicyBookCache
from services.runtime.page_tokens import PageTokens, page_size

TOKENS = PageTokens()
"""Without a secret: policies are public."""


def list_policies(cache: PolicyBookCache, request: ListPoliciesRequest) -> ListPoliciesResponse:
    """One page, by name; with effective_time the revisions that are in force then, and no others."""
    region = parse_jurisdiction(request.jurisdiction) if request.jurisdiction else ""
    at = from_timestamp(request.effective_time) if request.HasField("effective_time") else None
    position = TOKENS.position(request, (str, str))
    after = (position[0], position[1]) if position else ("", "")
    size = page_size(request.page_size)
    found = []
    book = cache.book
    for key in _keys_after(book, region, after):
        members = book.series(*key)
        if at is None:
            found.append(members[-1])
        else:
            found += [segment.revision for segment in series_segments(members) if segment.holds(at)]
        if len(found) > size:
            break
    shown = found[:size]
    token = TOKENS.issue(request, shown[-1].series) if len(found) > size else ""
    return ListPoliciesResponse(policies=[revision_to_proto(revision) for revision in shown], next_page_token=token)


def _keys_after(book: PolicyBook, region: str, after: SeriesKey) -> Iterator[SeriesKey]:
    regions = [region] if region else sorted(place for place in book.regions if place >= after[0])
    for place in regions:
        for policy_id in book.series_of(place):
            if (place, policy_id) > after:
                yield place, policy_id
