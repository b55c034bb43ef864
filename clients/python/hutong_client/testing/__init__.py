"""A test double: a node in the test's own process, with the laboratories and the decisions of the demo.

    with Double() as double, double.connect() as node:
        scene = double.scenes[0]
        assert node.verification.Verify(scene.request).decision == scene.decision

A real client calls the double over a real connection. The double keeps uploads in memory and answers recorded
questions. A test chooses further answers and failures. The double applies no rules: only a node decides whether a
result is recognised.
"""

from __future__ import annotations

from hutong_client.testing.double import Double, Scene
from hutong_client.testing.failures import Failure

__all__ = ["Double", "Failure", "Scene"]
