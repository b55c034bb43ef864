"""Tables of delays: from report to upload, and from upload to the nation."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, SmallInteger, String, Table

from services.results.schema import metadata
from services.storage.columns import LEFT_OUT, READ_AS

# Delays from report to upload: how many persons' results, by laboratory, hour of the report and class of delay.
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
)

# When the last report of each laboratory was uploaded. Purges keep the row, so that a laboratory that has been silent
# for long stays known as one that has reported.
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
