"""The pure rule on a call: what must be the caller's own, as properties over regions, laboratories and documents."""

from __future__ import annotations

from dataclasses import replace

from hutong.access.v1 import access_pb2
from hutong.access.v1.access_pb2 import Access, Grant
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest
from hutong.results.v1.results_service_pb2 import ListResultsRequest, LookupLatestRequest, WatchResultsRequest
from hutong.verification.v1.refusal_service_pb2 import ListRefusalsRequest, ReportRefusalRequest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.region import within
from services.runtime.caller import Caller
from services.runtime.server.access.permits import (
    DENIED,
    PERMITTED,
    Hidden,
    Missing,
    Owner,
    Rules,
    Ruling,
    Unsettled,
    permits,
    settle,
)
from tests.support.results.factories import LAB_NAME, OTHER_USCC, make_document, subject_key

REGIONS = st.sampled_from(["000000", "220000", "220500", "220502", "410000", "410100", "410105"])
OTHER_LAB = f"labs/{OTHER_USCC}"
TEXTS = st.text(max_size=40) | st.sampled_from(
    ["", "labs/", LAB_NAME, OTHER_LAB, "jurisdictions/", "41010", "４１０１００"]
)


def rule(caller: Caller, grant: Grant, request: object, *, case: str = "", node: str = "000000") -> Ruling:
    def key_of(document: object) -> bytes:
        return subject_key(1) if document == make_document(1) else subject_key(2)

    return permits(caller, Rules(Access(grants=[grant])), request, case=case, node=node, key_of=key_of)


def grant(role: int, bind: int, field: str = "", **more: bool | str) -> Grant:
    return Grant(role=role, bind=bind, field=field, **more)  # type: ignore[arg-type]


@given(REGIONS, REGIONS)
def test_an_authority_publishes_inside_its_region(own: str, region: str) -> None:
    request = PublishPolicyRequest()
    request.policy.name = f"jurisdictions/{region}/policies/p"
    given_ = grant(access_pb2.ROLE_AUTHORITY, access_pb2.BIND_OWN_REGION, "policy.name")
    ruling = rule(Caller("authority", f"authorities/{own}", own), given_, request)
    assert ruling == (PERMITTED if within(region, own) else DENIED)


@given(TEXTS, REGIONS)
def test_no_text_that_is_no_region_is_inside_one(text: str, own: str) -> None:
    """Any text gets a ruling, and none but a region or the name of a stored object is more than denied or missing."""
    request = ListRefusalsRequest(region=text)
    given_ = grant(access_pb2.ROLE_SUPERVISOR, access_pb2.BIND_OWN_REGION, "region")
    ruling = rule(Caller("supervisor", f"supervisors/{own}", own), given_, request)
    assert ruling == DENIED or isinstance(ruling, (Missing, Unsettled)) or len(text) == 6


@given(st.sampled_from([LAB_NAME, OTHER_LAB, f"{LAB_NAME}X", LAB_NAME[:-1]]), st.text(max_size=20))
def test_a_laboratory_corrects_what_is_its_own(lab: str, rest: str) -> None:
    """A name that only begins alike is another's."""
    name = f"{lab}/results/{rest}"
    given_ = grant(access_pb2.ROLE_LAB, access_pb2.BIND_OWN_LAB, "name")
    ruling = rule(Caller("lab", LAB_NAME), given_, CorrectResultRequest(name=name))
    assert ruling == (PERMITTED if lab == LAB_NAME else Hidden(name))


@given(st.sampled_from(["lab", "gate", "app", "authority", "supervisor", "node", "operator", "edge", ""]))
def test_a_grant_is_of_its_role_alone(role: str) -> None:
    given_ = grant(access_pb2.ROLE_OPERATOR, access_pb2.BIND_ANY)
    assert rule(Caller(role), given_, ListRefusalsRequest()) == (PERMITTED if role == "operator" else DENIED)


@given(st.lists(st.sampled_from([LAB_NAME, OTHER_LAB]), max_size=3))
def test_a_filter_by_laboratories_is_set_to_ones_own(labs: list[str]) -> None:
    request = WatchResultsRequest()
    request.filter.labs.extend(labs)
    given_ = grant(access_pb2.ROLE_LAB, access_pb2.BIND_OWN_LAB, "filter.labs", may_omit=True)
    assert rule(Caller("lab", LAB_NAME), given_, request) is PERMITTED
    assert list(request.filter.labs) == [LAB_NAME]


@given(REGIONS, REGIONS)
def test_an_absent_filter_by_region_becomes_ones_own(own: str, node: str) -> None:
    """The filter is set also at a node inside the caller's region, because the node may keep rows of other regions."""
    request = ListRefusalsRequest()
    given_ = grant(access_pb2.ROLE_SUPERVISOR, access_pb2.BIND_OWN_REGION, "region", may_omit=True)
    assert rule(Caller("supervisor", "", own), given_, request, node=node) is PERMITTED
    assert request.region == own


def test_a_document_is_the_users_own_or_nobodys() -> None:
    given_ = grant(access_pb2.ROLE_APP, access_pb2.BIND_OWN_USER, "document")
    signed_in = Caller("app", "apps/1", user=subject_key(1))
    own, other = (LookupLatestRequest(document=make_document(person)) for person in (1, 2))
    assert rule(signed_in, given_, own) is PERMITTED
    assert rule(signed_in, given_, other) is DENIED
    assert rule(signed_in, given_, LookupLatestRequest()) == Missing(("document",))
    assert rule(Caller("app", "apps/1"), given_, own) is DENIED


def test_a_second_document_is_the_users_if_the_token_says_so() -> None:
    """The first one does not become another's because the token names it as a further one."""
    given_ = grant(access_pb2.ROLE_APP, access_pb2.BIND_OWN_USER, "document", also="linked_document")
    request = LinkDocumentsRequest(document=make_document(1), linked_document=make_document(2))
    signed_in = Caller("app", "apps/1", user=subject_key(1))
    assert rule(signed_in, given_, request) is DENIED
    assert rule(replace(signed_in, other_documents=(subject_key(2),)), given_, request) is PERMITTED
    assert rule(replace(signed_in, user=subject_key(2), other_documents=(subject_key(1),)), given_, request) is DENIED
    request.ClearField("linked_document")
    assert rule(signed_in, given_, request) is PERMITTED


def test_a_decision_is_about_the_user_with_a_document_and_without() -> None:
    """The store knows about whom it is: about any document of the user's, or about another person."""
    given_ = grant(access_pb2.ROLE_APP, access_pb2.BIND_OWN_USER, "document", may_omit=True, also="decision")
    # Person 4 is the first document's key under the other key version.
    other_keys = (subject_key(4),)
    caller = Caller("app", "apps/1", user=subject_key(1), other_documents=(subject_key(2),), other_keys=other_keys)
    for document in (None, make_document(1)):
        ruling = rule(caller, given_, ReportRefusalRequest(decision="decisions/1", document=document))
        assert isinstance(ruling, Unsettled)
        for person, settled in ((1, PERMITTED), (2, PERMITTED), (4, PERMITTED), (3, Hidden("decisions/1"))):
            key = subject_key(person)
            assert settle(caller, ruling, Owner("", lambda asked, key=key: asked == key)) == settled
    assert rule(caller, given_, ReportRefusalRequest(decision="decisions/1", document=make_document(3))) is DENIED


def test_a_request_that_states_nothing_that_a_grant_is_about_lacks_it() -> None:
    """A request that states another's field is denied, and so is a request whose grant lacks a case."""
    own = grant(access_pb2.ROLE_SUPERVISOR, access_pb2.BIND_OWN_REGION, "lab")
    by_case = grant(access_pb2.ROLE_SUPERVISOR, access_pb2.BIND_ANY, "document", needs_case=True)
    caller = Caller("supervisor", "", "220000")

    def ruled(request: ListResultsRequest, case: str = "") -> Ruling:
        rules = Rules(Access(grants=[own, by_case]))
        return permits(caller, rules, request, case=case, node="000000", key_of=lambda _: b"")

    assert ruled(ListResultsRequest()) == Missing(("lab", "document"))
    assert ruled(ListResultsRequest(), "case-1") == Missing(("lab", "document"))
    assert ruled(ListResultsRequest(lab="no laboratory")) is DENIED
    assert ruled(ListResultsRequest(document=make_document(1))) is DENIED
    assert ruled(ListResultsRequest(document=make_document(1)), "case-1") is PERMITTED
    assert rule(Caller("lab", LAB_NAME), own, ListResultsRequest()) is DENIED


def test_a_case_is_needed_where_the_grant_says_so() -> None:
    given_ = grant(access_pb2.ROLE_OPERATOR, access_pb2.BIND_ANY, needs_case=True)
    assert rule(Caller("operator"), given_, ListRefusalsRequest()) is DENIED
    assert rule(Caller("operator"), given_, ListRefusalsRequest(), case="case-1") is PERMITTED


@given(REGIONS, REGIONS, st.sampled_from([LAB_NAME, f"{LAB_NAME}/results/R1", "refusals/1", "decisions/1"]))
def test_the_owner_settles_what_only_the_store_knows(own: str, region: str, name: str) -> None:
    """Another's laboratory is denied, since the register is public; anything else of another's is hidden."""
    given_ = grant(access_pb2.ROLE_SUPERVISOR, access_pb2.BIND_OWN_REGION, "name")
    caller = Caller("supervisor", "", own)
    ruling = rule(caller, given_, CorrectResultRequest(name=name))
    assert isinstance(ruling, Unsettled)
    assert ruling.stored == (LAB_NAME if name.startswith(LAB_NAME) else name)
    refused = DENIED if name == LAB_NAME else Hidden(name)
    assert settle(caller, ruling, Owner(region)) == (PERMITTED if within(region, own) else refused)
