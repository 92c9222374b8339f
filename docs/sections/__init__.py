"""What of the docs is made from the code: ``scripts/docs`` writes it, a test holds every page to it."""
