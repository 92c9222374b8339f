"""The Pulumi engine as bootstrap uses it: a child of its own, its state, its interrupts, their repair."""
