"""The setting with which the servers of tests serve loopback in plain text."""

from __future__ import annotations

INSECURE = {"HUTONG_INSECURE": "1"}
"""Every caller of such a server is local and may do everything. Servers that ask for certificates do without it."""
