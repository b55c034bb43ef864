"""Generate one day of an invented laboratory in Tonghua, Jilin: tubes, and valid rows for its CSV file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from random import Random

from clients.examples.people import Person, invent_people

LAB = "91220502MA000LAB8G"
"""The laboratory's GB 32100 code: invented, with valid check characters, registered in 220502 东昌区."""
LAB_NAME = "通化示例检验所"

COLUMNS = (
    "name",
    "card_no",
    "card_type",
    "sample_orgname",
    "test_orgname",
    "sample_type",
    "check_project",
    "sample_date",
    "collect_date",
    "report_date",
    "nat_result",
    "report_no",
    "tube_code",
    "pool_size",
    "sample_region",
)
NEGATIVE = "阴性"
POSITIVE = "阳性"
POOL_POSITIVE = "混管阳性"
INCONCLUSIVE = "可疑"

_SITES = {
    "220502": ("东昌区一号点", "东昌区二号点"),
    "220503": ("二道江区采样点",),
    "220521": ("通化县采样点",),
    "220523": ("辉南县采样点",),
    "220524": ("柳河县采样点",),
    "220581": ("梅河口市采样点",),
    "220582": ("集安市采样点",),
}
_CHINA = timezone(timedelta(hours=8))
_FIRST_SAMPLE = time(5, 30)
_SAMPLING_MINUTES = 600  # Sampling ends at 15:30, so that every report is issued before midnight.
_POOL_SIZES = (1, 1, 1, 5, 5, 10, 10, 10, 20)
# How many of 10,000 tubes are positive. They are as few as on a normal day, and enough for every scene of the story.
_POSITIVE_PER_10000 = 20
_INCONCLUSIVE_PER_10000 = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file: one person in a tube. The fields are the columns, in the same order, as text."""

    name: str
    card_no: str
    card_type: str
    sample_orgname: str
    test_orgname: str
    sample_type: str
    check_project: str
    sample_date: str
    collect_date: str
    report_date: str
    nat_result: str
    report_no: str
    tube_code: str
    pool_size: str
    sample_region: str

    def of(self, person: Person) -> Row:
        """Return the same row for another person."""
        return replace(self, name=person.name, card_no=person.card_no, card_type=person.card_type)


Tube = tuple[Row, ...]
"""Consecutive rows of the file that differ only in the person and the report number."""


class Day:
    """Generator of a day's tubes, report numbers and tube codes."""

    def __init__(self, random: Random, on: date, lab: str = LAB) -> None:
        self._random = random
        self._on = on
        self._lab = lab
        self._people = invent_people(random)
        self._reports = 0
        self._tubes = 0

    def tubes(self, people: int) -> list[Tube]:
        """Return tubes with this number of people, in the order in which their reports are issued.

        A day of at least eleven people has a positive pool of ten and a positive single tube, which the story needs.
        """
        tubes = [self.tube(10, 10, POOL_POSITIVE), self.tube(1, 1, POSITIVE)] if people >= 11 else []
        left = people - sum(map(len, tubes))
        while left > 0:
            size = self._random.choice(_POOL_SIZES)
            # A team often closes a tube before it is full.
            members = min(left, size - 1 if size > 1 and self._random.random() < 0.1 else size)
            tubes.append(self.tube(size, members, self._result(size)))
            left -= members
        return sorted(tubes, key=lambda tube: (tube[0].report_date, tube[0].tube_code))

    def tube(self, pool_size: int, members: int, result: str = NEGATIVE, card_type: str = "") -> Tube:
        """Return one tube with new people. With a card type, the first person has a document of this type."""
        first = self._row(pool_size, result, self.person(card_type))
        return (first, *(replace(first.of(self.person()), report_no=self.report_no()) for _ in range(members - 1)))

    def person(self, card_type: str = "") -> Person:
        """Return a new person. With a card type, the person has a document of this type."""
        return next(person for person in self._people if card_type in ("", person.card_type))

    def report_no(self) -> str:
        """Return a new report number."""
        self._reports += 1
        return f"R{self._on:%y%m%d}{self._reports:05}"

    def tube_code(self) -> str:
        """Return a new tube code."""
        self._tubes += 1
        return f"T{self._on:%y%m%d}{self._tubes:05}"

    def _row(self, pool_size: int, result: str, person: Person) -> Row:
        random = self._random
        region = random.choice(tuple(_SITES))
        sample = datetime.combine(self._on, _FIRST_SAMPLE, _CHINA) + timedelta(
            minutes=random.randrange(_SAMPLING_MINUTES), seconds=random.randrange(60)
        )
        collect = sample + timedelta(minutes=random.randrange(40, 150))
        report = collect + timedelta(minutes=random.randrange(150, 330))
        return Row(
            name=person.name,
            card_no=person.card_no,
            card_type=person.card_type,
            sample_orgname=random.choice(_SITES[region]),
            test_orgname=LAB_NAME if self._lab == LAB else self._lab,
            sample_type="口咽拭子",
            check_project="新冠病毒RT-PCR",
            sample_date=sample.isoformat(),
            collect_date=collect.isoformat(),
            report_date=report.isoformat(),
            nat_result=result,
            report_no=self.report_no(),
            tube_code=self.tube_code(),
            pool_size=str(pool_size),
            sample_region=region,
        )

    def _result(self, pool_size: int) -> str:
        draw = self._random.randrange(10_000)
        if draw < _POSITIVE_PER_10000:
            return POSITIVE if pool_size == 1 else POOL_POSITIVE
        return INCONCLUSIVE if draw < _POSITIVE_PER_10000 + _INCONCLUSIVE_PER_10000 else NEGATIVE
