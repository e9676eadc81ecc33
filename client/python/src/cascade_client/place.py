"""Where a session is, as far as a handle of it knows."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cascade_client.wire import cascade_pb2 as pb

# Until a turn that was left has ended on the server: two steps, as a rule.
_LEAVING_SECONDS = 10.0


@dataclasses.dataclass
class Place:
    """What a handle knows of its session."""

    session_id: str
    position: Optional[int] = None  # None: to be asked
    leaving: bool = False  # a turn of this handle was left and may still be ending

    def settle(self, info: pb.Session) -> None:
        self.position, self.leaving = info.position, False


class Leaving:
    """Waits for a turn that this handle left: how long until the session is looked at again."""

    def __init__(self) -> None:
        self._delay, self._left = 0.01, _LEAVING_SECONDS

    def delay(self) -> Optional[float]:
        """None: it takes too long; the server's answer (Busy) shall stand."""
        if self._left <= 0:
            return None
        wait = min(self._delay, self._left)
        self._left -= wait
        self._delay = min(self._delay * 2, 0.5)
        return wait
