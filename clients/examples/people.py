"""Invent people with documents that cannot belong to a living person.

The cards' dates of birth lie between 1820 and 1899, and the permits' numbers begin with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random

RESIDENT_ID_CARD = "居民身份证"
RESIDENCE_PERMIT = "港澳台居民居住证"
HK_MACAO_TRAVEL_PERMIT = "港澳居民来往内地通行证"
TAIWAN_TRAVEL_PERMIT = "台湾居民来往大陆通行证"

_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
    "余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
_GIVEN = (
    "安邦宝昌成春达德东恩发凡芳峰福刚光国海涵和恒红宏华辉慧嘉建江杰金锦静君凯康兰乐立丽良林玲龙满梅明娜宁"
    "平琪清庆荣瑞山善升诗书树思松涛天婷伟文霞贤祥晓欣新兴秀轩学雪雅岩燕阳怡义英永勇玉元园月云泽珍振正志忠"
    "洲子宗"
)
# The counties of Tonghua, four times as often as the other places of birth.
_HOMES = ("220502", "220503", "220521", "220523", "220524", "220581", "220582") * 4 + (
    "220102",
    "210502",
    "230103",
    "370102",
    "410105",
    "450403",
)
_HONG_KONG_MACAO_TAIWAN = ("810000", "820000", "830000")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_FIRST_BIRTH = date(1820, 1, 1)
_BIRTH_DAYS = (date(1900, 1, 1) - _FIRST_BIRTH).days


@dataclass(frozen=True, slots=True)
class Person:
    """A name and a document, as in a laboratory's form. The repr does not show the document's number."""

    name: str
    card_type: str
    card_no: str = field(repr=False)


def invent_people(random: Random) -> Iterator[Person]:
    """Yield people without end. No two have the same document.

    One in 400 has a permit, and all others have a resident identity card.
    """
    given: set[str] = set()
    while True:
        card_type = RESIDENT_ID_CARD
        if random.random() < 1 / 400:
            card_type = random.choice((RESIDENCE_PERMIT, HK_MACAO_TRAVEL_PERMIT, TAIWAN_TRAVEL_PERMIT))
        number = _number(random, card_type)
        if number not in given:
            given.add(number)
            yield Person(_name(random), card_type, number)


def check_character(number: str) -> str:
    """Compute the 18th character of a card from its first 17 (GB 11643, ISO 7064 MOD 11-2)."""
    return "10X98765432"[sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number[:17], strict=True)) % 11]


def _name(random: Random) -> str:
    return random.choice(_SURNAMES) + "".join(random.choice(_GIVEN) for _ in range(random.choice((1, 2, 2, 2))))


def _number(random: Random, card_type: str) -> str:
    if card_type == HK_MACAO_TRAVEL_PERMIT:
        return f"{random.choice('HM')}0000{random.randrange(10_000):04}"
    if card_type == TAIWAN_TRAVEL_PERMIT:
        return f"0000{random.randrange(10_000):04}"
    home = random.choice(_HONG_KONG_MACAO_TAIWAN if card_type == RESIDENCE_PERMIT else _HOMES)
    birth = _FIRST_BIRTH + timedelta(days=random.randrange(_BIRTH_DAYS))
    number = f"{home}{birth:%Y%m%d}{random.randrange(1, 1000):03}"
    return number + check_character(number)
