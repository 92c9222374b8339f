"""Twins of the seams for tests, shipped so that code built on ours can be tested like ours.

``ManualClock`` is time moved by hand; ``byoc.testing.transport`` is a tunnel's carriage in
memory; other twins live in modules of their own, imported where they are needed.
"""

from byoc.testing.clock import ManualClock

__all__ = ["ManualClock"]
