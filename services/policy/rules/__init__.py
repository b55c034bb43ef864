"""The rules of policies: resolution, and the guards and the impact of publications. Pure functions."""
