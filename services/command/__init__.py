"""The commands of `hutongd`, and what they have in common."""
