"""Make the corpus of golden decisions anew: `make golden`.

It prints what has changed, for the message of the commit.
"""

from __future__ import annotations

from collections import Counter

from hutong.verification.v1 import decision_pb2 as pb

from tests.support.golden.corpus import CORPUS, Case, make_corpus, read_corpus, write_corpus


def main() -> None:
    """Keep the inputs, decide them again, and add cases for what is new."""
    before: list[Case] = read_corpus(renamed=True)[1] if CORPUS.exists() else []
    about, after = make_corpus(before)
    decisions = {case.name: case.decision for case in after}
    changed = [case for case in before if decisions[case.name] != case.decision]
    write_corpus(about, after)
    kinds = Counter(
        f"{pb.DecisionReason.Name(case.decision.reason)} -> {pb.DecisionReason.Name(decisions[case.name].reason)}"
        for case in changed
    )
    print(f"{len(after)} cases, {len(after) - len(before)} new, {len(changed)} decided otherwise than before")
    for kind, count in kinds.most_common():
        print(f"  {count:4} {kind}")
    print(f"no case for: {', '.join(about['not_covered']) or 'nothing'}")


main()
