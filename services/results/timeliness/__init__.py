"""How late laboratories upload, and how long results take to reach the nation."""
