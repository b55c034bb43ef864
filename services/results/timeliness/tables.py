"""Tables of delays: from report to upload, and from upload to the nation."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, String, Table, text

from services.results.schema import metadata
from services.storage.columns import LEFT_OUT, READ_AS


def _index_of_new(name: str) -> Index:
    """Return an index of the rows whose persons the totals do not include yet."""
    new = text("persons <> counted")
    columns = "report_hour", "lab", "delay_class"
    return Index(name, *columns, postgresql_concurrently=True, postgresql_where=new, sqlite_where=new)


# Delays from report to upload. A row has the number of persons of one laboratory, hour of the report and class of
# delay.
delays = Table(
    "delays",
    metadata,
    Column("lab", String(18), primary_key=True),
    # The report time in whole hours since 1970-01-01T00:00:00Z.
    Column("report_hour", Integer, primary_key=True, autoincrement=False),
    # services.results.timeliness.delays defines the classes.
    Column("delay_class", SmallInteger, primary_key=True, autoincrement=False),
    Column("persons", BigInteger, nullable=False),
    Column("last_upload_time", BigInteger, nullable=False),
    # How many of the persons `city_delays` includes already.
    Column("counted", BigInteger, nullable=False, server_default="0"),
    _index_of_new("ix_delays_new"),
)

# At a province, the time at which a commit reached the nation. A result's laboratory and upload time identify its
# commit.
national_receive_times = Table(
    "national_receive_times",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("upload_time", BigInteger, primary_key=True, autoincrement=False),
    Column("national_receive_time", BigInteger, nullable=False),
)

# Delays from upload to the nation, in the form of `delays`.
national_delays = Table(
    "national_delays",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_hour", Integer, primary_key=True, autoincrement=False),
    Column("delay_class", SmallInteger, primary_key=True, autoincrement=False),
    Column("persons", BigInteger, nullable=False),
    Column("counted", BigInteger, nullable=False, server_default="0"),
    _index_of_new("ix_national_delays_new"),
)

# Totals of `delays`, by day of the report in Asia/Shanghai, city of the laboratory and class of delay.
city_delays = Table(
    "city_delays",
    metadata,
    # The day of the report in whole days since 1970-01-01 in Asia/Shanghai.
    Column("report_day", Integer, primary_key=True, autoincrement=False),
    # The first four digits of the laboratory's region, and "00".
    Column("city", String(6), primary_key=True),
    Column("delay_class", SmallInteger, primary_key=True, autoincrement=False),
    Column("persons", BigInteger, nullable=False),
    Column("last_upload_time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Totals of `national_delays`, in the form of `city_delays`.
city_national_delays = Table(
    "city_national_delays",
    metadata,
    Column("report_day", Integer, primary_key=True, autoincrement=False),
    Column("city", String(6), primary_key=True),
    Column("delay_class", SmallInteger, primary_key=True, autoincrement=False),
    Column("persons", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# When the last report of each laboratory was uploaded. Purges keep the row, so that a laboratory that has been silent
# for a long time still counts as one that has reported.
last_uploads = Table(
    "last_uploads",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("upload_time", BigInteger, nullable=False),
    info={
        LEFT_OUT: True,
        READ_AS: "SELECT lab, max(last_upload_time) AS upload_time FROM delays GROUP BY lab",
    },
)
