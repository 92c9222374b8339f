"""Named steps at which a test can have a process killed.

Durability is a promise about every step, so every step has a name, and the crash tests
walk the list. In production nothing sets ``BYOC_FAULTS`` and :func:`reach` is one comparison.
"""

import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Final


class Step(StrEnum):
    """Every step a change passes through, in order, and the process that takes it."""

    INTENT_COMMITTED = "controlplane.intent-committed"
    DELIVERY_SIGNED = "controlplane.delivery-signed"
    ANSWER_RECEIVED = "controlplane.answer-received"
    ACKNOWLEDGEMENT_COMMITTED = "controlplane.acknowledgement-committed"
    REPORT_RECEIVED = "controlplane.report-received"
    REPORT_COMMITTED = "controlplane.report-committed"
    RELAYED = "gateway.relayed"
    REQUEST_RECORDED = "agent.request-recorded"
    PASSWORD_STORED = "agent.password-stored"  # noqa: S105 - the name of a step
    SPEC_STORED = "agent.spec-stored"
    ANSWER_SENT = "agent.answer-sent"
    ACTION_STARTED = "agent.action-started"
    ACTION_DONE = "agent.action-done"
    INTERVAL_STORED = "agent.interval-stored"
    REPORT_SENT = "agent.report-sent"
    KEYS_PREPARED = "agent.keys-prepared"
    KEYS_BELIEVED = "controlplane.keys-believed"
    KEYS_TAKEN_OVER = "agent.keys-taken-over"


VARIABLE: Final = "BYOC_FAULTS"
"""A folder; the process that removes the file named like a step dies at that step, once."""

_FOLDER: Final = os.environ.get(VARIABLE, "")


def reach(step: Step) -> None:
    """Say that ``step`` has been reached; dies here if a test asked for it."""
    if not _FOLDER:
        return
    try:
        Path(_FOLDER, step).unlink()
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
