"""`hutong-health`: asks a running process whether it is healthy. For containers and service managers.

The module imports only the texts of Hutong and the parser of addresses. A probe runs every few seconds and must not
take the second of processor time that the imports of `hutongd` need.
"""

from __future__ import annotations

import http.client
import json
import os
import sys

from hutong_texts import speaking, tr
from hutong_texts.language import choose_language

from services.runtime.addresses import split_address

SECONDS = 4.0
"""How long the process may take to answer, in seconds. Callers of a probe give up after five seconds."""
HEALTHY, UNHEALTHY, USAGE = 0, 1, 2


def main() -> None:
    """Run the command and exit."""
    with speaking(choose_language([], os.environ)):
        code = probe(sys.argv[1:], os.environ.get("HUTONG_METRICS_ADDRESS", ""))
    sys.exit(code)


def probe(arguments: list[str], address: str) -> int:
    """Ask, print the answer, and return the exit code."""
    if len(arguments) > 1 or any(one.startswith("-") for one in arguments):
        print(
            tr(
                "usage: hutong-health [HOST:PORT]\n\nAsk the process that serves HUTONG_METRICS_ADDRESS, or HOST:PORT, "
                "whether its services are healthy, and print\nits answer. The exit code is 0 if they are, 1 if not, "
                "and 2 without an address."
            )
        )
        return HEALTHY if arguments in (["-h"], ["--help"]) else USAGE
    address = arguments[0] if arguments else address
    try:
        host, port = split_address(address)
    except ValueError:
        text = tr("set HUTONG_METRICS_ADDRESS as for the service, such as {example}", example="127.0.0.1:9464")
        print(f"hutong-health: {text}", file=sys.stderr)
        return USAGE
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        print(answer.read(10_000).decode(errors="replace").strip())
    except (OSError, http.client.HTTPException) as error:
        text = tr("no answer at {address}: {cause}", address=address, cause=str(error))
        print(f"hutong-health: {text}", file=sys.stderr)
        return UNHEALTHY
    finally:
        connection.close()
    return HEALTHY if answer.status == http.client.OK else UNHEALTHY


def is_served(address: str) -> bool:
    """Return whether a process of Hutong answers at an address of metrics, healthy or not."""
    host, port = split_address(address)
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status in {http.client.OK, http.client.SERVICE_UNAVAILABLE} and isinstance(
            json.loads(answer.read(10_000)), dict
        )
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
