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
from services.runtime.call import may_see_actors
from services.runtime.page_tokens import PageTokens, page_size

TOKENS = PageTokens()
"""Page tokens without a secret, because policies are public."""


def list_policies(cache: PolicyBookCache, request: ListPoliciesRequest) -> ListPoliciesResponse:
    """Return one page in order of name. With effective_time it has only the revisions in force at that instant."""
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
    shown, token = TOKENS.page(request, found, lambda revision: revision.series)
    with_actors = may_see_actors()
    policies = [revision_to_proto(revision, with_actors=with_actors) for revision in shown]
    return ListPoliciesResponse(policies=policies, next_page_token=token)


def _keys_after(book: PolicyBook, region: str, after: SeriesKey) -> Iterator[SeriesKey]:
    regions = [region] if region else sorted(each for each in book.regions if each >= after[0])
    for listed in regions:
        for policy_id in book.series_of(listed):
            if (listed, policy_id) > after:
                yield listed, policy_id
