"""Pools: which rows are in one tube, and how many persons a tube was made for."""
