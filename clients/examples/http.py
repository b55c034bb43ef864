"""Serve the demo's node as HTTP/JSON and gRPC-Web: three services over mutual TLS, and an Envoy in front of them.

    python -m clients.examples.http          # until Ctrl-C, on 127.0.0.1:8080
    python -m clients.examples.http --once   # ask once and end

Envoy must be on the PATH; `make envoy` installs it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from google.protobuf.json_format import MessageToJson
from hutong_client import Tls
from hutong_client.tables.regions import NATION
from joserfc import jwt
from joserfc.jwk import ECKey

from clients.examples.certificates import ROLES, make_all
from clients.examples.demo import DAY, play
from clients.examples.node import SERVICES, Node, NotServing, free_addresses, running_node
from clients.examples.stage import PATIENT, StoryDiffers, announce
from clients.examples.story import build_scenes

ISSUER, AUDIENCE = "https://sign-in.example", "hutong"
TOKEN_SECONDS = 600
"""The longest life of a token that the services accept."""
_START_SECONDS = 30.0
_INVITATION = """
Ask as the gate {gate}; its token holds for ten minutes:

  curl {url}/hutong.verification.v1.VerificationService/Verify \\
    -H 'authorization: Bearer {token}' \\
    -d '{question}'
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node and Envoy. Return the exit code."""
    parser = argparse.ArgumentParser(prog="http", description=__doc__)
    parser.add_argument("--once", action="store_true", help="ask once on free ports, print the answer and end")
    once = parser.parse_args(arguments).once
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    envoy = shutil.which("envoy")
    if envoy is None:
        print("envoy is not on the PATH; make envoy installs it", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        where = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hutong-")))
        try:
            issuer = ECKey.generate_key("P-256", {"kid": "demo"})
            node = stack.enter_context(_guarded_node(where, issuer))
            listen, admin = (free_addresses()["results"] if once else default for default in _LISTEN)
            url = stack.enter_context(_running_envoy(envoy, node, where, listen, admin))
            question = MessageToJson(build_scenes(DAY)[0].request, indent=None, ensure_ascii=False)
            announce(f"Envoy serves HTTP/JSON and gRPC-Web at {url}, and its own pages at http://{admin}")
            print(_INVITATION.format(gate=ROLES["gate"], url=url, token=_token(issuer), question=question), flush=True)
            if once:
                decision = _ask(url, _token(issuer), question)["decision"]
                print(json.dumps(decision, ensure_ascii=False, indent=2), flush=True)
                return 0 if decision["outcome"] == "DECISION_OUTCOME_RECOGNIZED" else 1
            signal.pause()
        except (StoryDiffers, NotServing) as failure:
            print(f"\nNot as expected: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopping.", flush=True)
    return 0


_LISTEN = ("127.0.0.1:8080", "127.0.0.1:9901")


@contextlib.contextmanager
def _guarded_node(where: Path, issuer: ECKey) -> Iterator[Node]:
    """Fill a node in plain text as the demo does, and then run it over mutual TLS on the same data."""
    data, certificates = where / "data", where / "certs"
    with running_node(data, variables=PATIENT) as filled:
        play(filled, where)
    # The settings of the demo's node name no region, so it is the nation's.
    make_all(certificates, node=NATION)
    keys = where / "keys.json"
    keys.write_text(json.dumps({"keys": [issuer.as_dict(private=False)]}), encoding="utf-8")
    variables = PATIENT | {
        "HUTONG_TLS_CERTIFICATE_FILE": str(certificates / "verification.pem"),
        "HUTONG_TLS_KEY_FILE": str(certificates / "verification.key"),
        "HUTONG_TLS_SERVER_CA_FILE": str(certificates / "client-ca.pem"),
        "HUTONG_TLS_CLIENT_CA_FILE": str(certificates / "client-ca.pem"),
        "HUTONG_TLS_NODE_CA_FILE": str(certificates / "node-ca.pem"),
        "HUTONG_TOKEN_KEYS_FILE": str(keys),
        "HUTONG_TOKEN_ISSUER": ISSUER,
        "HUTONG_TOKEN_AUDIENCE": AUDIENCE,
    }
    operator = Tls(certificates / "client-ca.pem", certificates / "operator.pem", certificates / "operator.key")
    node = Node(data, free_addresses(), variables, operator)
    try:
        node.start()
        yield node
    finally:
        node.stop()


@contextlib.contextmanager
def _running_envoy(envoy: str, node: Node, where: Path, listen: str, admin: str) -> Iterator[str]:
    """Run Envoy in front of a node until the block ends. Yield its URL."""
    certificates = where / "certs"
    options = {
        **{f"--{service}": node.addresses[service] for service in SERVICES},
        "--listen": listen,
        "--admin": admin,
        "--ca": certificates / "client-ca.pem",
        "--certificate": certificates / "edge.pem",
        "--key": certificates / "edge.key",
        "--token-keys": where / "keys.json",
        "--token-issuer": ISSUER,
        "--token-audience": AUDIENCE,
        # The page of the TypeScript client, which `npm run page` serves.
        "--origin": "http://127.0.0.1:8081",
    }
    words = [str(word) for pair in options.items() for word in pair]
    config = where / "envoy.yaml"
    with config.open("w", encoding="utf-8") as file:
        subprocess.run([sys.executable, "deploy/envoy/configure.py", *words], stdout=file, check=True)  # noqa: S603
    with (where / "envoy.log").open("wb") as log:
        command = [envoy, "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
    try:
        _await_ready(f"http://{admin}/ready", process)
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url, timeout=1.0):  # noqa: S310
            return
        time.sleep(0.05)
    raise NotServing("Envoy does not become ready")


def _token(issuer: ECKey) -> str:
    """Return a token for the gate, such as an identity provider makes."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "hutong_role": "gate",
        "hutong_name": ROLES["gate"],
        "hutong_region": ROLES["gate"].split("/")[1],
    }
    return jwt.encode({"alg": "ES256", "kid": issuer.kid}, claims, issuer, algorithms=["ES256"])


def _ask(url: str, token: str, question: str) -> dict[str, dict[str, str]]:
    request = urllib.request.Request(  # noqa: S310 - our own Envoy on loopback
        f"{url}/hutong.verification.v1.VerificationService/Verify",
        question.encode(),
        {"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: dict[str, dict[str, str]] = json.load(answer)
        return found


if __name__ == "__main__":
    sys.exit(main())
