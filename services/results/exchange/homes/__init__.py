"""The homes of laboratories: which node may speak for each laboratory, and where the homes are stored."""
