"""The Verification service: whether a person's result is recognised at a place, by its rule, at an instant."""
