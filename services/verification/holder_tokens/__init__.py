"""Tokens that a holder shows in place of number and name: issues, reads and accepts them."""
