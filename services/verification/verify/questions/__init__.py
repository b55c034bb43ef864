"""A question as it arrives: its decoding and checks, the signed reports in its evidence, and who asks."""
