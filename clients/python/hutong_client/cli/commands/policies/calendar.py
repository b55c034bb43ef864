"""`hutong policy calendar`: the windows of a region through a year, as a table or a page with a timeline."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from hutong.policy.v1.policy_pb2 import Policy, TravelerOrigin
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest
from hutong.type.v1.purpose_pb2 import Purpose
from hutong_texts import tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import help_text
from hutong_client.cli.options import PURPOSE, REGION, Node, NodeCommand, html_option, json_option
from hutong_client.cli.output import print_json, print_table
from hutong_client.cli.pages.calendar import COLUMNS, Shown, calendar_page, table_rows
from hutong_client.cli.pages.frame import write_page
from hutong_client.connection import CALL_SECONDS, Connection
from hutong_client.formatting import SHANGHAI, as_dict
from hutong_client.policies.calendar import PURPOSES, Calendar, read_calendar


@click.command("calendar", cls=NodeCommand, example="--region 310104 --year 2022 --html calendar.html")
@click.option("--region", type=REGION, required=True, help="The region that checks, GB/T 2260.")
@click.option("--year", type=click.IntRange(1970, 9998), help="The year.  [default: this year]")
@click.option(
    "--purpose",
    "purposes",
    type=PURPOSE,
    multiple=True,
    help=help_text("A purpose; can be repeated: {words}.  [default: all]", words=PURPOSE),
)
@html_option
@json_option
@click.pass_obj
def show_calendar(
    node: Node, region: str, year: int | None, purposes: tuple[int, ...], html_path: Path | None, as_json: bool
) -> ExitCode:
    """Show every window of a region through a year: its purposes, origin, start, end and policy."""
    if html_path and as_json:
        raise click.UsageError(tr("give either --html or --json"))
    year = year or datetime.now(SHANGHAI).year
    start, end = (int(datetime(number, 1, 1, tzinfo=SHANGHAI).timestamp()) for number in (year, year + 1))
    with node.connect() as connection:
        calendar = read_calendar(connection, region, tuple(dict.fromkeys(purposes)) or PURPOSES, start, end)
        rules = _read_rules(connection, calendar) if html_path else {}
    if html_path:
        write_page(html_path, calendar_page(Shown(calendar, str(year), rules)))
    elif as_json:
        print_json(_as_json(calendar))
    else:
        print_table([*map(tr, COLUMNS)], [row for lane in calendar.lanes for row in table_rows(lane)])
    return ExitCode.DONE


def _read_rules(connection: Connection, calendar: Calendar) -> dict[str, Policy]:
    """Read the policies and floors that a calendar names, in the order of their names."""
    answers = [it.effective for lane in calendar.lanes for it in lane.stretches]
    names = {name for it in answers for name in (it.governing, it.floor, *it.lower_floors) if name}
    return {
        name: connection.policies.GetPolicy(GetPolicyRequest(name=name), timeout=CALL_SECONDS).policy
        for name in sorted(names)
    }


def _as_json(calendar: Calendar) -> dict[str, Any]:
    return {
        "region": calendar.region,
        "lanes": [
            {
                "purposes": [Purpose.Name(Purpose.ValueType(purpose)) for purpose in lane.purposes],
                "origin": TravelerOrigin.Name(TravelerOrigin.ValueType(lane.origin)),
                "stretches": [
                    {
                        "start_time": datetime.fromtimestamp(it.start, SHANGHAI).isoformat(),
                        "end_time": datetime.fromtimestamp(it.end, SHANGHAI).isoformat(),
                        "effective_policy": as_dict(it.effective),
                    }
                    for it in lane.stretches
                ],
            }
            for lane in calendar.lanes
        ],
    }
