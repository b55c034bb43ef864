"""The register of laboratories through a real server: answers and errors of LabService, on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.v1 import lab_pb2
from hutong.results.v1.lab_service_pb2 import (
    CreateLabRequest,
    GetLabRequest,
    ListLabsRequest,
    SetLabSigningKeyRequest,
    SetLabStandingRequest,
)
from hutong_client.reports.signed import key_id, to_der
from stdnum.cn import uscc

from services.domain.instant import DAY, to_timestamp
from tests.support.databases import MakeUrl
from tests.support.errors import error_info, field_violations
from tests.support.lists import read_pages
from tests.support.results.factories import LAB_NAME, NOW, OTHER_USCC, lab_to_register
from tests.support.results.node import ResultsNode, results_node

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
AUTHORIZED = lab_pb2.LAB_STANDING_AUTHORIZED
SUSPENDED = lab_pb2.LAB_STANDING_SUSPENDED
REQUEST_ID = "0192f0c1-0000-7000-8000-00000000000{}"


@pytest.fixture
async def node(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[ResultsNode]:
    async with results_node(tmp_path, database_url("results")) as running:
        yield running


def changed_lab(**changes: object) -> CreateLabRequest:
    lab = lab_to_register()
    lab.MergeFrom(lab_pb2.Lab(**changes))  # type: ignore[arg-type] # parametrised
    return CreateLabRequest(lab=lab)


def standing_request(**changes: object) -> SetLabStandingRequest:
    request = SetLabStandingRequest(name=LAB_NAME, standing=SUSPENDED, reason="red light")
    for name, value in changes.items():
        if isinstance(value, Timestamp):
            getattr(request, name).CopyFrom(value)
        else:
            setattr(request, name, value)
    return request


async def test_a_laboratory_is_registered_read_and_registered_again(node: ResultsNode) -> None:
    created = (await node.labs.CreateLab(CreateLabRequest(lab=lab_to_register()))).lab
    assert (created.name, created.standing, created.create_time) == (LAB_NAME, AUTHORIZED, to_timestamp(NOW))
    assert [(each.standing, each.HasField("effective_time")) for each in created.standing_changes] == [
        (AUTHORIZED, False)
    ]
    node.clock.advance(DAY)
    assert (await node.labs.CreateLab(CreateLabRequest(lab=lab_to_register()))).lab == created
    assert (await node.labs.GetLab(GetLabRequest(name=LAB_NAME))).lab == created


KEYS = [to_der(Ed25519PrivateKey.from_private_bytes(bytes([index] * 32)).public_key()) for index in range(21)]


def key_request(index: int = 0, revoked: int | None = None, **fields: str) -> SetLabSigningKeyRequest:
    """A key of the laboratory, perhaps revoked from an instant on."""
    key = lab_pb2.LabSigningKey(public_key=KEYS[index], revoke_time=None if revoked is None else to_timestamp(revoked))
    return SetLabSigningKeyRequest(name=LAB_NAME, signing_key=key, **fields)


async def test_keys_are_registered_and_revoked_and_never_made_good_again(node: ResultsNode) -> None:
    """A repeat changes nothing. A revocation may only move to an earlier instant, and keys are listed by age."""
    await node.register()
    registered = (await node.labs.SetLabSigningKey(key_request())).lab
    (key,) = registered.signing_keys
    assert (key.public_key, key.key_id, key.create_time) == (KEYS[0], key_id(KEYS[0]), to_timestamp(NOW))
    node.clock.advance(DAY)
    assert (await node.labs.SetLabSigningKey(key_request())).lab == registered
    await node.labs.SetLabSigningKey(key_request(1))
    for revoked in (NOW, NOW - DAY, NOW - DAY):
        found = (await node.labs.SetLabSigningKey(key_request(revoked=revoked))).lab.signing_keys
        assert [one.public_key for one in found] == KEYS[:2]
        assert (found[0].revoke_time, found[1].HasField("revoke_time")) == (to_timestamp(revoked), False)
    for late in (NOW, None):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.labs.SetLabSigningKey(key_request(revoked=late))
        assert error_info(caught.value).reason == "CONFLICT"
    got = (await node.labs.GetLab(GetLabRequest(name=LAB_NAME))).lab
    assert list(got.signing_keys) == list(found)
    assert not (await node.labs.ListLabs(ListLabsRequest())).labs[0].signing_keys


async def test_other_keys_and_too_many_are_refused(node: ResultsNode) -> None:
    """The field is named. A laboratory that is not registered has no key."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.labs.SetLabSigningKey(key_request())
    assert caught.value.code() == NOT_FOUND
    await node.register()
    request = key_request()
    for wrong in (b"no key", to_der(ec.generate_private_key(ec.SECP384R1()).public_key())):
        request.signing_key.public_key = wrong
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.labs.SetLabSigningKey(request)
        assert caught.value.code() == INVALID
        assert list(field_violations(caught.value)) == ["signing_key.public_key"]
    for index in range(20):
        await node.labs.SetLabSigningKey(key_request(index))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.labs.SetLabSigningKey(key_request(20))
    assert error_info(caught.value).reason == "CONFLICT"
    revoked = (await node.labs.SetLabSigningKey(key_request(3, NOW))).lab.signing_keys
    assert sum(key.HasField("revoke_time") for key in revoked) == 1


async def test_other_content_under_a_name_is_already_exists(node: ResultsNode) -> None:
    await node.register()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.labs.CreateLab(changed_lab(display_name="另一检验所"))
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS
    info = error_info(caught.value)
    assert (info.reason, dict(info.metadata)) == ("ALREADY_EXISTS", {"resource": LAB_NAME})


async def test_a_request_id_acts_once(node: ResultsNode) -> None:
    """The same content answers the first answer again, other content is refused, for each method by itself."""
    request = CreateLabRequest(lab=lab_to_register(), request_id=REQUEST_ID.format(1))
    first = await node.labs.CreateLab(request)
    standing = standing_request(request_id=REQUEST_ID.format(1))
    suspended = await node.labs.SetLabStanding(standing)
    node.clock.advance(DAY)
    assert await node.labs.CreateLab(request) == first
    assert await node.labs.SetLabStanding(standing) == suspended
    assert len((await node.labs.GetLab(GetLabRequest(name=LAB_NAME))).lab.standing_changes) == 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.labs.SetLabStanding(standing_request(reason="other", request_id=REQUEST_ID.format(1)))
    assert (caught.value.code(), error_info(caught.value).reason) == (INVALID, "REQUEST_ID_REUSED")


async def test_standing_is_kept_in_history(node: ResultsNode) -> None:
    """The standing holds from now unless an instant is given. An entry for the future does not hold yet."""
    await node.register()
    node.clock.advance(DAY)
    lab = (await node.labs.SetLabStanding(standing_request())).lab
    assert (lab.standing, lab.standing_changes[-1].effective_time) == (SUSPENDED, to_timestamp(NOW + DAY))
    back = standing_request(standing=AUTHORIZED, reason="mended", effective_time=to_timestamp(NOW + 3 * DAY))
    lab = (await node.labs.SetLabStanding(back)).lab
    assert lab.standing == SUSPENDED
    assert [each.reason for each in lab.standing_changes] == ["registered", "red light", "mended"]
    node.clock.advance(2 * DAY)
    assert (await node.labs.GetLab(GetLabRequest(name=LAB_NAME))).lab.standing == AUTHORIZED


FAR = Timestamp(seconds=10**15)
WRONG = {
    "no lab": ("CreateLab", CreateLabRequest(), INVALID, "INVALID_FIELD", "lab"),
    "malformed name": ("CreateLab", changed_lab(name="labs/1"), INVALID, "INVALID_FIELD", "lab.name"),
    "wrong check character": (
        "CreateLab",
        changed_lab(name="labs/91220501MA0HUTNG0U"),
        INVALID,
        "BAD_USCC",
        "lab.name",
    ),
    "unknown region": ("CreateLab", changed_lab(region="999999"), INVALID, "REGION_UNKNOWN", "lab.region"),
    "region of letters": ("CreateLab", changed_lab(region="22050x"), INVALID, "INVALID_FIELD", "lab.region"),
    "name with NUL": ("CreateLab", changed_lab(display_name="a\0b"), INVALID, "INVALID_FIELD", "lab.display_name"),
    "contact with NUL": ("CreateLab", changed_lab(contact="\0"), INVALID, "INVALID_FIELD", "lab.contact"),
    "authorised beyond time": (
        "CreateLab",
        changed_lab(authorize_time=FAR),
        INVALID,
        "INVALID_FIELD",
        "lab.authorize_time",
    ),
    "request id": (
        "CreateLab",
        CreateLabRequest(lab=lab_to_register(), request_id="1"),
        INVALID,
        "INVALID_FIELD",
        "request_id",
    ),
    "get unknown": ("GetLab", GetLabRequest(name=f"labs/{OTHER_USCC}"), NOT_FOUND, "NOT_FOUND", ""),
    "get malformed": ("GetLab", GetLabRequest(name="labs/x"), INVALID, "MALFORMED_NAME", "name"),
    "get nothing": ("GetLab", GetLabRequest(), INVALID, "INVALID_FIELD", "name"),
    "list of unknown region": ("ListLabs", ListLabsRequest(region="999999"), INVALID, "REGION_UNKNOWN", "region"),
    "list of negative size": ("ListLabs", ListLabsRequest(page_size=-1), INVALID, "INVALID_FIELD", "page_size"),
    "list by a made-up token": (
        "ListLabs",
        ListLabsRequest(page_token="bm9uZQ"),
        INVALID,
        "INVALID_PAGE_TOKEN",
        "page_token",
    ),
    "standing of unknown": (
        "SetLabStanding",
        standing_request(name=f"labs/{OTHER_USCC}"),
        NOT_FOUND,
        "NOT_FOUND",
        "",
    ),
    "no standing": ("SetLabStanding", standing_request(standing=0), INVALID, "INVALID_FIELD", "standing"),
    "made-up standing": ("SetLabStanding", standing_request(standing=9), INVALID, "INVALID_FIELD", "standing"),
    "no reason": ("SetLabStanding", standing_request(reason=""), INVALID, "INVALID_FIELD", "reason"),
    "name of spaces": ("ListLabs", ListLabsRequest(display_name=" "), INVALID, "INVALID_FIELD", "display_name"),
    "reason with NUL": ("SetLabStanding", standing_request(reason="\0"), INVALID, "INVALID_FIELD", "reason"),
    "effective beyond time": (
        "SetLabStanding",
        standing_request(effective_time=FAR),
        INVALID,
        "INVALID_FIELD",
        "effective_time",
    ),
}


async def test_faulty_requests_are_refused_with_their_reasons(node: ResultsNode) -> None:
    """The documented code and reason, and the field."""
    told = {}
    for wrong, (method, request, *_) in WRONG.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(node.labs, method)(request)
        violations = field_violations(caught.value)
        told[wrong] = (caught.value.code(), error_info(caught.value).reason, violations)
    assert told == {
        wrong: (code, reason, {field: reason} if field else {}) for wrong, (_, _, code, reason, field) in WRONG.items()
    }


async def test_laboratories_are_listed_by_name_page_by_page(node: ResultsNode) -> None:
    """Laboratories of a region include those of regions below it.

    A page token serves only the request for which it was issued.
    """
    regions = ["220500", "220502", "220000", "410105", "410000"]
    names = []
    for place in range(10):
        stem = f"9122050{place}MA0HUTNG0"
        lab = lab_to_register(stem + uscc.calc_check_digit(stem))
        lab.region = regions[place % 5]
        lab.display_name = ("胡同 检验所（A）", "胡同检验所%", "胡同检验", "通化检验所", "吉林检验所")[place // 2]
        names.append(lab.name)
        await node.labs.CreateLab(CreateLabRequest(lab=lab))

    async def pages(**query: object) -> list[list[str]]:
        request = ListLabsRequest(page_size=3, **query)  # type: ignore[arg-type]
        found = [page.labs for page in await read_pages(node.labs.ListLabs, request)]
        assert all(not lab.standing_changes and lab.standing == AUTHORIZED for labs in found for lab in labs)
        return [[lab.name for lab in labs] for labs in found]

    assert [name for page in await pages() for name in page] == sorted(names)
    assert [len(page) for page in await pages()] == [3, 3, 3, 1]
    below = sorted(names[place] for place in (0, 1, 5, 6))
    assert await pages(region="220500") == [below[:3], below[3:]]
    assert [len(page) for page in await pages(region="410000")] == [3, 1]
    assert await pages(display_name="胡同检验所(ａ)") == [sorted(names[:2])]
    assert await pages(display_name="胡同检验所") == [[]]
    assert await pages(display_name_prefix=" 胡同") == [sorted(names[:6])[:3], sorted(names[:6])[3:]]
    assert await pages(display_name_prefix="胡同检验所%") == [sorted(names[2:4])]
    assert await pages(display_name_prefix="胡同", region="410000") == [sorted(names[3:5])]
    token = (await node.labs.ListLabs(ListLabsRequest(page_size=3))).next_page_token
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.labs.ListLabs(ListLabsRequest(page_size=3, page_token=token, region="410000"))
    assert error_info(caught.value).reason == "INVALID_PAGE_TOKEN"
