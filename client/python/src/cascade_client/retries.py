"""How often and when a call is made again. Which calls may be: see the README, "Retries"."""

from __future__ import annotations

import dataclasses
import random
import time
from typing import Optional

from cascade_client.errors import CascadeError, DeadlineExceeded, InvalidArgument, ResourceExhausted


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """RetryPolicy(attempts=1) never makes a call again."""

    attempts: int = 8  # calls in all, the first one included
    budget: float = 20.0  # seconds of waiting in all
    first_delay: float = 0.1  # doubles each time, with jitter; a server that says when is believed
    max_delay: float = 3.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidArgument(f"attempts must be at least 1, got {self.attempts}", field="attempts")
        for name in ("budget", "first_delay", "max_delay"):
            if getattr(self, name) < 0:
                raise InvalidArgument(f"{name} must be at least 0 seconds, got {getattr(self, name)}", field=name)


class Deadline:
    """The end of one call of the user's, however many it takes on the wire."""

    def __init__(self, timeout: Optional[float]) -> None:
        if timeout is not None and not timeout > 0:
            raise InvalidArgument(f"timeout must be above 0 seconds, got {timeout}", field="timeout")
        self._end = None if timeout is None else time.monotonic() + timeout

    def remaining(self) -> Optional[float]:
        """Seconds; None: no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


class Retries:
    """What is left of a policy for one call of the user's."""

    def __init__(self, policy: RetryPolicy, deadline: Deadline) -> None:
        self.deadline = deadline
        self.used = False  # the call has been made again
        self._policy = policy
        self._attempts = policy.attempts - 1
        self._budget = policy.budget
        self._delay = policy.first_delay

    def delay(self, error: CascadeError) -> float:
        """Seconds to wait before the call is made again. Raises `error` when that is not to be."""
        wait = self._delay * random.uniform(0.5, 1.0)
        if isinstance(error, ResourceExhausted) and error.retry_after is not None:
            # Spread, or all who were refused together come back together.
            wait = max(wait, error.retry_after * random.uniform(1.0, 1.25))
        remaining = self.deadline.remaining()
        if self._attempts <= 0 or wait > self._budget or (remaining is not None and wait >= remaining):
            raise error
        self.used = True
        self._attempts -= 1
        self._budget -= wait
        self._delay = min(self._delay * 2, self._policy.max_delay)
        return wait

    def progress(self) -> None:
        """A broken call has been taken up again and said something new: what it needs next is counted anew."""
        self._attempts = self._policy.attempts - 1
        self._delay = self._policy.first_delay

    def wire_timeout(self) -> Optional[float]:
        remaining = self.deadline.remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded("the timeout of the call has passed")
        return remaining


def was_refused(error: CascadeError) -> bool:
    """The server did nothing and asks to come back: safe for every call."""
    return isinstance(error, ResourceExhausted) and error.retry_after is not None
