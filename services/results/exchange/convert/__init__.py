"""Conversion between the messages of the exchange and the domain, a module for each kind of what is exchanged."""
