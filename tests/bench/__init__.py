"""Measures Hutong against the raw limits of the machine it runs on, as ratios within one run."""
