"""Settings: refused when they cannot be used, by name; and secrets that never show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import make_url

from services.domain.document import Document
from services.domain.region import is_region
from services.runtime.addresses import is_loopback, is_same_server, socket_path, split_address
from services.runtime.configuration.settings import VARIABLES, Settings
from services.runtime.configuration.variables import BadSetting
from services.storage.connections import driver_args, is_pooled

POSTGRESQL = "postgresql://hutong:t0psecret@db.example/results?sslpassword=als0secret"


def settings(**variables: str) -> Settings:
    """Settings from HUTONG_ variables, written in lower case without the prefix."""
    return Settings.from_environment({f"HUTONG_{name.upper()}": value for name, value in variables.items()})


def test_nothing_need_be_set() -> None:
    """The embedded default: loopback, fixed ports, SQLite under .hutong, the nation."""
    default = Settings.from_environment({"PATH": "/bin", "HUTONGX": "another's"})
    assert [default.service(name).address for name in ("results", "policy", "verification")] == [
        "127.0.0.1:50051",
        "127.0.0.1:50052",
        "127.0.0.1:50053",
    ]
    assert default.results.database_url == "sqlite:///.hutong/results.db"
    assert default.jurisdiction == "000000"
    assert not default.tls.serves_tls
    assert default == settings(**{name.removeprefix("HUTONG_").lower(): "" for name in VARIABLES})


def test_an_unknown_name_is_refused() -> None:
    """A misspelt setting must not be silently without effect."""
    with pytest.raises(BadSetting, match=r"HUTONG_JURISDICTON; did you mean HUTONG_JURISDICTION"):
        settings(jurisdicton="410000")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("results_address", "127.0.0.1"),
        ("policy_address", ":50052"),
        ("verification_address", "localhost:65536"),
        ("verification_address", "localhost:５"),
        ("verification_address", "localhost:²"),
        ("results_database_url", "results.db"),
        ("policy_database_url", "mysql://localhost/policy"),
        ("verification_database_url", "://"),
        ("jurisdiction", "999999"),
        ("jurisdiction", "Henan"),
        ("upstream", "national"),
        ("metrics_address", "9090"),
        ("otlp_endpoint", "collector:4317"),
        ("otlp_endpoint", "ftp://collector:4317"),
        ("otlp_endpoint", "http://collector"),
        ("otlp_endpoint", "http://collector:4317/v1/traces"),
        ("trace_ratio", "1.5"),
        ("trace_ratio", "-0.1"),
        ("trace_ratio", "nan"),
        ("trace_ratio", "all"),
        ("log_level", "loud"),
        ("drain_seconds", "0"),
        ("drain_seconds", "soon"),
        ("drain_seconds", "nan"),
        ("drain_seconds", "inf"),
        ("start_seconds", "0"),
        ("max_calls", "0"),
        ("max_calls", "0.5"),
        ("max_calls", "many"),
        ("upload_workers", "-1"),
        ("upload_workers", "nan"),
        ("tls_certificate_file", "/nowhere/certificate.pem"),
        ("tls_key_file", "/nowhere/key.pem"),
        ("tls_client_ca_file", "/nowhere/ca.pem"),
        ("tls_server_ca_file", "/nowhere/ca.pem"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    """The error names the variable that the operator wrote."""
    with pytest.raises(BadSetting, match=f"HUTONG_{name.upper()}"):
        settings(**{name: value})


def test_a_province_finds_the_nations_policy_beside_its_results(tmp_path: Path) -> None:
    """Policy is at the next port unless another address is set. The nation itself has no upstream."""
    pepper = tmp_path / "pepper"
    pepper.write_bytes(b"p" * 32)
    joined = {"jurisdiction": "410000", "upstream": "nation.example:50051", "pepper_file": str(pepper)}
    assert settings(**joined).upstream_policy == "nation.example:50052"
    assert settings(**joined, upstream_policy="policy.example:443").upstream_policy == "policy.example:443"
    assert settings(jurisdiction="410000").upstream_policy == ""
    with pytest.raises(BadSetting, match="HUTONG_UPSTREAM_POLICY must be host:port"):
        settings(**joined, upstream_policy="policy.example")
    with pytest.raises(BadSetting, match="HUTONG_UPSTREAM_POLICY needs HUTONG_UPSTREAM"):
        settings(jurisdiction="410000", upstream_policy="policy.example:443")
    with pytest.raises(BadSetting, match="HUTONG_UPSTREAM needs HUTONG_JURISDICTION"):
        settings(**joined | {"jurisdiction": ""})
    with pytest.raises(BadSetting, match="HUTONG_UPSTREAM needs HUTONG_PEPPER_FILE"):
        settings(**joined | {"pepper_file": ""})


def test_certificate_and_key_go_together(tmp_path: Path) -> None:
    """Client certificates can be asked for only over TLS."""
    file = tmp_path / "some.pem"
    file.write_text("x")
    for alone in ("tls_certificate_file", "tls_key_file"):
        with pytest.raises(BadSetting, match="go together"):
            settings(**{alone: str(file)})
    with pytest.raises(BadSetting, match="HUTONG_TLS_CLIENT_CA_FILE needs"):
        settings(tls_client_ca_file=str(file))
    assert settings(tls_certificate_file=str(file), tls_key_file=str(file)).tls.serves_tls
    callers = settings(tls_server_ca_file=str(file)).tls
    assert callers.calls_tls
    assert not callers.serves_tls


def test_secrets_never_show(tmp_path: Path) -> None:
    """No repr of the settings has a password of a database or the pepper, and neither has the log at the start."""
    pepper = tmp_path / "pepper"
    pepper.write_bytes(b"pepp3rsecret" * 4)
    node = settings(results_database_url=POSTGRESQL, pepper_file=str(pepper))
    told = f"{node!r} {node} {node.redacted()} {node.results!r} {node.pepper()!r}"
    assert not [secret for secret in ("t0psecret", "als0secret", "pepp3rsecret") if secret in told]
    assert node.results.redacted()["database_url"] == "postgresql://db.example/results"


def test_a_bad_database_url_is_not_repeated() -> None:
    """A bad URL may still contain a password."""
    with pytest.raises(BadSetting) as caught:
        settings(results_database_url="postgres:hutong:t0psecret@db.example")
    assert "t0psecret" not in str(caught.value)


def test_a_database_url_may_name_a_pooler() -> None:
    """There is only one kind of pooler. PostgreSQL's own options are checked as before."""
    pooled = f"{POSTGRESQL}&pooler=transaction"
    assert is_pooled(make_url(settings(results_database_url=pooled).results.database_url))
    assert not is_pooled(make_url(POSTGRESQL))
    assert driver_args(pooled)["prepare_threshold"] is None
    assert "options" not in driver_args(pooled)
    assert "pooler" not in driver_args(pooled)
    with pytest.raises(BadSetting, match="has pooler other than transaction"):
        settings(results_database_url=f"{POSTGRESQL}&pooler=session")
    with pytest.raises(BadSetting, match="does not know: poller"):
        settings(results_database_url=f"{POSTGRESQL}&poller=transaction")


def test_the_pepper_is_made_at_first_start_and_kept(tmp_path: Path) -> None:
    """Readable by its owner alone; the next start finds the same people under the same keys."""
    node = settings(data_dir=str(tmp_path / "data"))
    first = node.pepper()
    made = tmp_path / "data" / "pepper"
    assert made.stat().st_mode & 0o777 == 0o600
    assert len(made.read_bytes()) == 32
    document = Document(1, "1")
    assert settings(data_dir=str(tmp_path / "data")).pepper().subject_key(document) == first.subject_key(document)
    assert os.listdir(tmp_path / "data") == ["pepper"]


def test_services_started_side_by_side_share_one_pepper(tmp_path: Path) -> None:
    """The second process reads the secret that the first made, and never a part of it."""
    for attempt in range(20):
        node = settings(data_dir=str(tmp_path / str(attempt)))
        with ThreadPoolExecutor(4) as pool:
            peppers = list(pool.map(lambda _, node=node: node.pepper().secret, range(4)))
        assert len(set(peppers)) == 1
        assert os.listdir(tmp_path / str(attempt)) == ["pepper"]


def test_a_database_server_needs_a_pepper_that_is_given() -> None:
    """Made by chance on one of several machines, it would split the nation."""
    with pytest.raises(BadSetting, match="HUTONG_PEPPER_FILE, _DESCRIPTOR or _COMMAND is required"):
        settings(results_database_url=POSTGRESQL).pepper()


def test_a_pepper_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    """Missing, or too short to be a secret."""
    with pytest.raises(BadSetting, match="HUTONG_PEPPER_FILE cannot be read"):
        settings(pepper_file=str(tmp_path / "none")).pepper()
    short = tmp_path / "short"
    short.write_bytes(b"x" * 31)
    with pytest.raises(BadSetting, match="less than 32 bytes"):
        settings(pepper_file=str(short)).pepper()


@pytest.mark.parametrize(
    ("address", "host", "port", "loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051, True),
        ("127.8.8.8:1", "127.8.8.8", 1, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:50051", "::1", 50051, True),
        ("0.0.0.0:50051", "0.0.0.0", 50051, False),
        ("[::]:50051", "::", 50051, False),
        ("10.1.2.3:50051", "10.1.2.3", 50051, False),
        ("results.example:50051", "results.example", 50051, False),
    ],
)
def test_addresses(address: str, host: str, port: int, loopback: bool) -> None:
    """An address that is not certainly on this machine does not count as loopback."""
    assert split_address(address) == (host, port)
    assert is_loopback(address) is loopback


def test_a_port_that_does_not_exist() -> None:
    with pytest.raises(BadSetting, match="HUTONG_RESULTS_ADDRESS must have a port of at most 65535, not 99999"):
        settings(results_address="127.0.0.1:99999")


def test_unix_sockets() -> None:
    """A socket is for this machine alone."""
    address = "unix:/run/hutong/results.sock"
    assert socket_path(address) == "/run/hutong/results.sock"
    assert is_loopback(address)
    assert is_same_server(address, address)
    assert not is_same_server(address, "127.0.0.1:50051")
    assert settings(results_address=address).results.address == address


@pytest.mark.parametrize("address", ["unix:results.sock", "unix:50051", "unix:", f"unix:/{'x' * 100}", "unix:/a\nb"])
def test_a_socket_has_an_absolute_path(address: str) -> None:
    """GRPC would take the rest for a path in the current directory."""
    with pytest.raises(BadSetting, match="HUTONG_RESULTS_ADDRESS"):
        settings(results_address=address)


def test_settings_with_secrets_cannot_be_changed() -> None:
    """Settings are read once."""
    with pytest.raises(AttributeError):
        settings().jurisdiction = "410000"  # type: ignore[misc]


@pytest.fixture
def regions_file(tmp_path: Path) -> Iterator[Path]:
    """The path of an operator's file of regions; afterwards the process knows no added ones."""
    yield tmp_path / "regions.txt"
    settings()


def test_an_operators_file_adds_regions(regions_file: Path) -> None:
    """Codes may have names. One of them may be the node's own. Settings without the file do not know them."""
    regions_file.write_text("\ufeff# founded later\n330197 新区\n\n331300,新市\n331301\n", encoding="utf-8")
    assert settings(regions_file=str(regions_file), jurisdiction="331300").jurisdiction == "331300"
    assert all(map(is_region, ["330197", "331300", "331301"]))
    settings()
    assert not is_region("330197")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"330197\n33019\n", "line 2: must begin with a code of six digits"),
        ("新区 330197".encode(), "line 1: must begin"),
        (b",", "line 1: must begin"),
        (b"000000", "line 1: must begin"),
        (b"# of no city\n331301\n", "line 2: 331301 lies in 331300, which is no region; add that one too"),
        ("330197 新区".encode("gb18030"), "is not a text in UTF-8"),
        (None, "cannot be read: .*: No such file or directory; put the file there, or correct the setting"),
    ],
)
def test_a_wrong_file_of_regions_is_refused_in_one_line(regions_file: Path, content: bytes | None, told: str) -> None:
    """The line names the setting, the file's line and the reason."""
    if content is not None:
        regions_file.write_bytes(content)
    with pytest.raises(BadSetting, match=rf"^HUTONG_REGIONS_FILE {told}") as caught:
        settings(regions_file=str(regions_file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"insecure": "yes"}, "HUTONG_INSECURE must be 1"),
        ({"trust_domain": "https://hutong.org"}, "HUTONG_TRUST_DOMAIN must be a SPIFFE trust domain"),
        ({"insecure": "1", "tls_client_ca_file": __file__}, "HUTONG_INSECURE and HUTONG_TLS_CLIENT_CA_FILE exclude"),
        ({"tls_client_ca_file": "", "tls_node_ca_file": __file__}, "HUTONG_TLS_NODE_CA_FILE needs"),
        ({"token_keys_file": __file__}, "HUTONG_TOKEN_KEYS_FILE needs HUTONG_TOKEN_ISSUER"),
    ],
)
def test_settings_of_access_that_contradict_each_other_are_refused(variables: dict[str, str], said: str) -> None:
    if variables.get("tls_client_ca_file"):
        variables = variables | {"tls_certificate_file": __file__, "tls_key_file": __file__}
    with pytest.raises(BadSetting, match=said):
        settings(**variables)
