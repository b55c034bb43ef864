"""The audit of one service: rows, their chain, and what reads them."""
