"""Record the demo's laboratories and decisions for the test double of the Python client.

python -m clients.examples.recording
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from hutong_client import connect

from clients.examples.demo import DAY, play
from clients.examples.node import running_node
from clients.examples.stage import CALL_SECONDS, PATIENT
from clients.examples.story import LABS, build_scenes

RECORDING = Path(__file__).parents[1] / "python/hutong_client/testing/demo.json"


def main() -> None:
    """Play the demo, ask the demo's questions again, and write the node's answers to a file."""
    scenes = build_scenes(DAY)
    with (
        tempfile.TemporaryDirectory(prefix="hutong-") as directory,
        running_node(Path(directory), variables=PATIENT) as node,
    ):
        play(node, Path(directory))
        with connect(environment=node.environment) as connection:
            answers = [connection.verification.Verify(scene.request, timeout=CALL_SECONDS) for scene in scenes]
    recording = {
        "labs": [MessageToDict(lab) for lab in LABS],
        "scenes": [
            {"title": scene.title, "request": MessageToDict(scene.request), "decision": MessageToDict(answer.decision)}
            for scene, answer in zip(scenes, answers, strict=True)
        ],
    }
    RECORDING.write_text(json.dumps(recording, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
