"""Every byte that crosses a process boundary is described here."""
