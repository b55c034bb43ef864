"""What this release knows of the exchange between nodes, beyond what every release knows."""

from __future__ import annotations

from hutong.type.v1.capability_pb2 import Capability

OWN = tuple(value for value in Capability.values() if value)
"""The capabilities that this release reports to other nodes: all that its contract names."""
