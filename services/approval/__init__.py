"""Four eyes: pending changes, which one caller proposes and another approves."""
