"""A way in for an emergency: one machine that nobody can dial, for a while, with its sessions on record.

``plan`` and ``documents`` say what is made, ``journal`` who asked and why; ``make`` and ``unmake`` call AWS.
"""
