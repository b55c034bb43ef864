"""Hutong (互通): the Results, Policy and Verification services and the packages that they share."""
