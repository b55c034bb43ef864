"""The Verification service: decides whether a subject's result is recognised in a region at a time, and why."""
