"""Reports of refusal: taken in and assessed, answered, listed and counted."""
