"""The homes of laboratories: which node may speak for each, and the register of these homes."""
