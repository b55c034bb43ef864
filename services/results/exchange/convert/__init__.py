"""Conversion between the messages of the exchange and the domain: one module for each kind of message."""
