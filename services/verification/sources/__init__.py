"""What a decision is made from is asked here: Results and Policy, as clients."""
