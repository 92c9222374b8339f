"""The Pulumi engine as bootstrap uses it: its own child process, its state, its interrupts and their repair."""
