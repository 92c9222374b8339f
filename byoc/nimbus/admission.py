"""How much the gateway takes from peers that it does not know yet. Pure but for the clock."""

from dataclasses import dataclass

from byoc.clock import Clock


@dataclass(frozen=True, slots=True)
class Limits:
    """The gateway's limits; seconds, and numbers of connections or streams.

    Attributes:
        handshake_seconds: for a peer to answer a challenge.
        patience_seconds: how long a login waits for a Control Plane to connect.
        pending: connections that have not logged in, at once; beyond it the oldest has to go.
        logins_a_second, login_burst: how often anybody may come in.
        enrolling: un-enrolled peers at once, as above; ``enrol_seconds``: how long each may stay.
        enrols_a_second, enrol_burst: streams of all un-enrolled peers together.
        ask_seconds: for the Control Plane to answer the gateway.
        asking: questions to the Control Plane at once.
        open_seconds: for the far end of a relayed stream to accept.
        relogin_seconds: between logins on a live tunnel; ``relogin_retry_seconds``: after one
            that nobody could check.
    """

    handshake_seconds: float = 10.0
    patience_seconds: float = 5.0
    pending: int = 128
    logins_a_second: float = 200.0
    login_burst: int = 400
    enrolling: int = 16
    enrol_seconds: float = 60.0
    enrols_a_second: float = 20.0
    enrol_burst: int = 40
    ask_seconds: float = 10.0
    asking: int = 64
    open_seconds: float = 10.0
    relogin_seconds: float = 600.0
    relogin_retry_seconds: float = 30.0
    streams_of_a_cell: int = 64
    streams_of_an_unenrolled: int = 2


class TokenBucket:
    """Lets ``burst`` through at once and ``rate`` a second in the long run."""

    def __init__(self, *, rate: float, burst: int, clock: Clock) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._level = float(burst)
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Whether one more may pass now."""
        now = self._clock.monotonic()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def wait(self) -> float:
        """Seconds until the next may pass, as seen at the last ``take``."""
        return max(0.0, (1 - self._level) / self._rate)
