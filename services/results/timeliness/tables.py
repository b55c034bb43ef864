"""Tables of delays: from report to upload, and from upload to the nation."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, SmallInteger, String, Table

from services.results.schema import metadata

# How long laboratories took from report to upload: persons by hour of report and by class of delay.
delays = Table(
    "delays",
    metadata,
    Column("lab", String(18), primary_key=True),
    # Hours since 1970-01-01T00:00:00Z of the report time.
    Column("report_hour", Integer, primary_key=True, autoincrement=False),
    # See services.results.timeliness.delays: grows by a twentieth from class to class.
    Column("delay_class", SmallInteger, primary_key=True, autoincrement=False),
    Column("persons", BigInteger, nullable=False),
    Column("last_upload_time", BigInteger, nullable=False),
)

# At a province, when the nation had what a commit changed: results know their commit by laboratory and upload time.
national_receive_times = Table(
    "national_receive_times",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("upload_time", BigInteger, primary_key=True, autoincrement=False),
    Column("national_receive_time", BigInteger, nullable=False),
)

# How long results took from upload to the nation: as `delays`.
national_delays = Table(
    "national_delays",
    metadata,
    Column("lab", String(18), primary_key=True),
    Column("report_hour", Integer, primary_key=True, autoincrement=False),
    Column("delay_class", SmallInteger, primary_key=True, autoincrement=False),
    Column("persons", BigInteger, nullable=False),
)
