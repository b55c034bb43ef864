"""Made-up persons, born in the 1800s so that none of them can be a living person."""

from __future__ import annotations

from datetime import date, timedelta

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)

NAMES = ("张伟", "王芳", "李娜", "刘洋", "陈静", "杨敏", "赵磊", "黄丽", "周强", "吴秀英")


def resident_number(index: int) -> str:
    """Return the index-th made-up resident identity card number, with its check character."""
    born = date(1860, 1, 1) + timedelta(days=index // 500 % 14_000)
    county = ("410105", "220502", "450403", "370202")[index // 7_000_000 % 4]
    digits = f"{county}{born:%Y%m%d}{index % 500:03d}"
    return digits + "10X98765432"[sum(weight * int(digit) for weight, digit in zip(WEIGHTS, digits, strict=True)) % 11]
