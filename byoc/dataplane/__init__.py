"""What runs in the customer's account: the cell's agent and the runtimes it drives."""
