"""Traces: spans of calls, batches and statements, exported by OTLP if the operator names a receiver."""
