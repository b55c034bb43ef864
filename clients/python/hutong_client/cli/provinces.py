"""Names of the provincial level of GB/T 2260, so that a reader of a page need not look up codes."""

from __future__ import annotations

from hutong_texts import ENGLISH, current_language

from hutong_client.tables.regions import full_name, show_region

NAMES = {
    "00": "全国 Nation",
    "11": "北京 Beijing",
    "12": "天津 Tianjin",
    "13": "河北 Hebei",
    "14": "山西 Shanxi",
    "15": "内蒙古 Inner Mongolia",
    "21": "辽宁 Liaoning",
    "22": "吉林 Jilin",
    "23": "黑龙江 Heilongjiang",
    "31": "上海 Shanghai",
    "32": "江苏 Jiangsu",
    "33": "浙江 Zhejiang",
    "34": "安徽 Anhui",
    "35": "福建 Fujian",
    "36": "江西 Jiangxi",
    "37": "山东 Shandong",
    "41": "河南 Henan",
    "42": "湖北 Hubei",
    "43": "湖南 Hunan",
    "44": "广东 Guangdong",
    "45": "广西 Guangxi",
    "46": "海南 Hainan",
    "50": "重庆 Chongqing",
    "51": "四川 Sichuan",
    "52": "贵州 Guizhou",
    "53": "云南 Yunnan",
    "54": "西藏 Tibet",
    "61": "陕西 Shaanxi",
    "62": "甘肃 Gansu",
    "63": "青海 Qinghai",
    "64": "宁夏 Ningxia",
    "65": "新疆 Xinjiang",
    "71": "台湾 Taiwan",
    "81": "香港 Hong Kong",
    "82": "澳门 Macao",
}


def province_of(region: str) -> str:
    """Return the code of the region's province; for the nation, return the nation's code."""
    return region[:2] + "0000"


def region_words(region: str) -> str:
    """Format a region with its province's name: "410105 (河南 Henan)", or "河南 Henan" for the province itself."""
    if current_language() != ENGLISH:
        return full_name(region) if region == province_of(region) else show_region(region)
    name = NAMES.get(region[:2], "")
    if region == province_of(region):
        return name or region
    return f"{region} ({name})" if name else region
