"""Makes random inputs of decisions from a seed: reports that exist, their records, and the evidence that is shown."""

from __future__ import annotations

from random import Random

from hutong.results.v1 import lab_pb2, lookup_pb2, missing_report_pb2, result_pb2

from services.domain.instant import DAY, HOUR, MINUTE, SECOND, Instant
from services.verification.decision import model
from services.verification.decision.model import (
    AcceptedItem,
    Claim,
    EffectivePolicy,
    Evidence,
    Inputs,
    LabAnswer,
    Record,
    Requirement,
    ShortestWindow,
    SourceStatus,
    Window,
)

NOON: Instant = 1_660_190_400 * SECOND
"""2022-08-11T12:00:00+08:00."""
ANTIGEN = "sars-cov-2-antigen"
ANTIBODY = "sars-cov-2-antibody"
HEPATITIS = "hepatitis-b"
"""An item that no random policy names."""
NAMES = {"检验所甲": "labs/91410100MA0000001X", "检验所乙": "labs/91220500MA00000029", "不明检验所": ""}
"""The laboratories that Results finds by name."""
LABS = ("labs/91410100MA0000001X", "labs/91220500MA00000029")
OUTCOMES = (model.NEGATIVE,) * 6 + (
    model.POSITIVE,
    model.POOL_POSITIVE,
    model.PENDING,
    model.PENDING,
    model.INCONCLUSIVE,
)
ITEMS = ("",) * 12 + (ANTIGEN,) * 5 + (ANTIBODY,) * 2 + (HEPATITIS,)
STANDINGS = (lab_pb2.LAB_STANDING_AUTHORIZED,) * 5 + tuple(lab_pb2.LabStanding.values())
STATES = (result_pb2.RESULT_STATE_ACTIVE,) * 6 + (
    result_pb2.RESULT_STATE_RECALLED,
    result_pb2.RESULT_STATE_SUPERSEDED,
)
TO_FOLLOW = missing_report_pb2.MISSING_REPORT_ANSWER_TO_FOLLOW
RESULTS = "nodes/410000/results"
POLICY = "nodes/410000/policy"


def random_inputs(random: Random) -> Inputs:
    """Return all inputs of one decision. Times are on small grids, so that boundaries and ties are frequent."""
    use_time = NOON + random.choice((0, 0, 0, -DAY, 6 * HOUR))
    policy = random_policy(random)
    results_answer = random.random() < 0.85
    world = [random_record(random, number) for number in range(random.randint(0, 4))]
    world += [_revise(random, record) for record in world if random.random() < 0.2]
    others = [random_record(random, number) for number in range(10, 12)]
    evidence = tuple(_random_evidence(random, world, others) for _ in range(random.choice((0, 0, 1, 1, 2, 3))))
    records = tuple(record for record in world if random.random() < 0.9) if results_answer else ()
    elsewhere = random_policy(random) if policy is not None and random.random() < 0.3 else None
    items = weighed_items(policy, elsewhere) if results_answer else set()
    claims = tuple(_find_claim(random, one, world, others, items) for one in evidence)
    return Inputs(
        use_time,
        NOON,
        policy,
        records,
        evidence,
        claims,
        random_sources(random, results_answer=results_answer),
        elsewhere,
        random.random() < 0.1,
        tuple(random.sample(sorted(items), 1)) if items and random.random() < 0.05 else (),
    )


def random_policy(random: Random) -> EffectivePolicy | None:
    """Return what applies. It is sometimes no policy, and sometimes unknown (None)."""
    kind = random.random()
    if kind < 0.02:
        return None
    required: Requirement | None = Requirement(
        random_window(random),
        random.choice((None, 24 * HOUR)),
        random.random() < 0.5,
        tuple(random_shortest(random) for _ in range(random.choice((0, 0, 0, 0, 1, 2)))),
    )
    assert required is not None
    if random.random() < 0.6:
        required = with_items(random, required)
    governing = "" if kind < 0.04 else f"jurisdictions/410100/policies/venue@{random.randint(1, 2)}"
    if kind < 0.07:
        required = None
    is_lifted = random.random() < 0.02
    if is_lifted:
        required = None
    forbidden = (1, 2, *[ground for ground in (6, 7, 8, 9) if random.random() < 0.15])
    floor = "jurisdictions/000000/policies/floor@1"
    return EffectivePolicy(governing, floor, required, forbidden, ("advice",), is_lifted=is_lifted)


def random_window(random: Random) -> Window:
    """Return a window of hours or of calendar days, from the report or from sampling."""
    return random.choice(
        (
            Window(48 * HOUR, None, model.REPORT_TIME, random.random() < 0.5),
            Window(24 * HOUR, None, model.SAMPLE_TIME, random.random() < 0.5),
            Window(None, random.randint(1, 3), model.REPORT_TIME, random.random() < 0.5),
            Window(None, random.randint(1, 3), model.SAMPLE_TIME, False),
        )
    )


def with_items(random: Random, required: Requirement) -> Requirement:
    """Return a requirement that lists accepted or adverse items or both, in any order."""
    named = ["", ANTIGEN, ANTIBODY]
    accepted = random.sample(named, random.choice((0, 1, 2, 2, 3)))
    return required._replace(
        accepted=tuple(AcceptedItem(item, random.choice((None, random_window(random)))) for item in accepted),
        adverse_items=tuple(random.sample(named, random.choice((0, 0, 1, 2, 3)))),
        adverse_window=random.choice((None, None, 24 * HOUR, 48 * HOUR)),
    )


def weighed_items(*policies: EffectivePolicy | None) -> set[str]:
    """Return the items that any of the policies names, which are those that are looked up."""
    named: set[str] = set()
    for policy in policies:
        if policy is not None and policy.required is not None:
            accepted = [one.item for one in policy.required.accepted] or [""]
            named.update(accepted, policy.required.adverse_items)
    return named or {""}


def random_shortest(random: Random) -> ShortestWindow:
    """Return a shortest window of a floor, often as long as the policies' windows."""
    days = random.randint(1, 3)
    if random.random() < 0.4:
        return ShortestWindow(None, days, random.random() < 0.5)
    return ShortestWindow(days * DAY, None, random.random() < 0.5)


def random_record(random: Random, number: int) -> Record:
    """Return a record of one report. Most records are consistent."""
    outcome = random.choice(OUTCOMES)
    sample_time = NOON - random.choice((1, 6, 23, 24, 25, 30, 47, 48, 49, 72, 96)) * HOUR
    sample_time += random.choice((0, 0, -SECOND, SECOND, 17 * SECOND))
    report_time = sample_time + random.choice((0, 1, 4, 6, 24)) * HOUR + random.choice((0, 0, SECOND, 42 * SECOND))
    if random.random() < 0.05:
        report_time = sample_time - HOUR
    if random.random() < 0.06:
        report_time = NOON + random.choice((40 * SECOND, MINUTE, MINUTE + SECOND, 4 * MINUTE, 6 * MINUTE, HOUR))
    lab, text = random.choice(LABS), f"R{number}"
    return Record(
        f"{lab}/results/{text}",
        1,
        random.choice(STATES),
        lab,
        text,
        outcome,
        sample_time,
        random.choice((None, sample_time)),
        random.choice((None, None, report_time)) if outcome != model.PENDING else None,
        report_time if outcome != model.PENDING else None,
        random.choice(STANDINGS),
        random.choice(ITEMS),
    )


def random_sources(random: Random, *, results_answer: bool) -> tuple[SourceStatus, ...]:
    """Return the states of Results, of Policy, and sometimes of the national node's Results."""
    state = model.SOURCE_OK if results_answer else model.SOURCE_UNAVAILABLE
    sources = [
        SourceStatus(RESULTS, state, NOON if results_answer else None),
        SourceStatus(POLICY, model.SOURCE_OK, NOON),
    ]
    if random.random() < 0.7:
        states = (model.SOURCE_OK,) * 4 + (model.SOURCE_UNAVAILABLE, lookup_pb2.SOURCE_STATE_NOT_CONFIGURED)
        sources.append(SourceStatus("nodes/000000/results", random.choice(states), None))
    random.shuffle(sources)
    return tuple(sources)


def _revise(random: Random, record: Record) -> Record:
    changed = random_record(random, int(record.report_number[1:]))
    return Record(
        record.name,
        2,
        changed.state,
        record.lab,
        record.report_number,
        changed.outcome,
        changed.sample_time,
        None,
        None,
        changed.report_time,
        changed.lab_standing,
        changed.item,
    )


def _random_evidence(random: Random, world: list[Record], others: list[Record]) -> Evidence:
    """Return evidence of a report, true or altered. The report may have no record or belong to another person."""
    kind = random.random()
    source = random.choice(world) if world and kind < 0.7 else random_record(random, random.randint(20, 22))
    if kind > 0.9:
        source = random.choice(others)
    by_name = random.random() < 0.3
    names = [name for name, lab in NAMES.items() if lab == source.lab or random.random() < 0.2]
    report_number = source.report_number if random.random() < 0.9 else ""
    lab = source.lab if random.random() < 0.95 or not report_number else ""
    return Evidence(
        random.randint(1, 7),
        "" if by_name else lab,
        report_number,
        source.outcome if random.random() < 0.85 else random.choice(OUTCOMES),
        _shown(random, source.sample_time),
        _shown(random, source.report_time),
        source.item if random.random() < 0.8 else random.choice(ITEMS),
        random.choice(names) if by_name else "",
    )


def _shown(random: Random, instant: Instant | None) -> Instant | None:
    if instant is None or random.random() < 0.2:
        return None
    return instant + random.choice((0, 0, 0, -(instant % MINUTE), 300_000, HOUR, -2 * SECOND))


def _find_claim(
    random: Random, evidence: Evidence, world: list[Record], others: list[Record], items: set[str]
) -> Claim:
    if evidence.item not in items:
        return model.NOT_LOOKED_UP
    lab = evidence.lab or NAMES.get(evidence.lab_name, "")
    report = (lab, evidence.report_number)
    standing = random.choice(STANDINGS) if lab else lab_pb2.LAB_STANDING_UNSPECIFIED
    if "" in report:
        of_number = [record for record in world if not lab and record.report_number == evidence.report_number]
        newest = {record.name: record for record in sorted(of_number, key=lambda record: record.revision)}
        possible = tuple(record for record in newest.values() if record.item in items)
        return Claim(model.NOT_COMPARABLE, None, standing, None, lab, possible)
    return _find_identified(report, world, others, standing, items)


def _find_identified(
    report: tuple[str, str],
    world: list[Record],
    others: list[Record],
    standing: model.Standing,
    items: set[str],
) -> Claim:
    lab = report[0]
    mine = [record for record in world if (record.lab, record.report_number) == report]
    if mine and max(mine, key=lambda record: record.revision).item not in items:
        return Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_ITEM, None, standing, None, lab)
    if mine:
        newest = max(mine, key=lambda record: record.revision)
        return Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_FOUND, newest, standing, None, lab)
    if any((record.lab, record.report_number) == report for record in others):
        return Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_OTHER_PERSON, None, standing, None, lab)
    return Claim(lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND, None, standing, None, lab, (), _answer(report))


def _answer(report: tuple[str, str]) -> LabAnswer | None:
    """Return what the laboratory has answered: always the same for one report. The other random numbers stay."""
    random = Random("/".join(report))
    if random.random() < 0.5:
        return None
    expected = random.choice((None, NOON + 8 * HOUR))
    denied = LabAnswer(model.NOT_OURS, NOON - HOUR)
    return random.choice((denied, LabAnswer(TO_FOLLOW, NOON - HOUR, expected)))
