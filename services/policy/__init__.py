"""The Policy service: authorities publish policies, and callers ask which policy applies to a region at a time."""
