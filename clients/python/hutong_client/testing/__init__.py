"""A test double: a node in the test's own process, with the laboratories and the decisions of the demo.

    with Double() as double, double.connect() as node:
        scene = double.scenes[0]
        assert node.verification.Verify(scene.request).decision == scene.decision

A real client calls it over a real connection. It keeps uploads in memory and answers recorded questions, and a test
chooses further answers and failures. It applies no rules: whether a result is recognised is decided by a node alone.
"""

from __future__ import annotations

from hutong_client.testing.double import Double, Scene
from hutong_client.testing.failures import Failure

__all__ = ["Double", "Failure", "Scene"]
