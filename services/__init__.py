"""Hutong (互通): the Results, Policy and Verification services and the packages that they share."""

import os

# gRPC reads this variable when it is loaded. Its INFO lines contain raw bytes of callers, with which a caller could
# forge lines of the log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
