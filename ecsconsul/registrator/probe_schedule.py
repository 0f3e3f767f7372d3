"""How often a new service is looked at until it is well, and the look itself; what follows from it is left to sync.

A service is registered with what was seen. One that is not well yet is most often only starting, so it is looked at
again at once and then less often. After a second it is shown as critical, and looked at until Consul has done so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from socket import create_connection

from .checks import DEFAULT_INTERVAL, Probe, Status, TcpProbe, duration_seconds
from .probe import look
from .rules import Registration, first_look

FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 0.01, 1.3, 0.1
SHOWN_AFTER = 1.0
PAUSE_WHEN_SHOWN = 0.5
# Consul makes its first check within the interval; of a long one the look need not see the end
LONGEST_WATCH = 60.0
DIRECT_TIMEOUT = 0.3


@dataclass
class Looking:
    """The looks at one service, from its first on; `status` is what the last one saw."""

    probe: Probe
    behind: TcpProbe | None
    began: float
    until: float
    pause: float = FIRST_PAUSE
    status: Status | None = None
    shown: Status | None = None  # what it was registered with

    @property
    def is_well(self) -> bool:
        return self.status in ("passing", "warning")

    @property
    def is_shown_wrongly(self) -> bool:
        """Whether it was registered as critical and has become well."""
        return self.shown == "critical" and self.is_well

    def is_decided(self, now: float) -> bool:
        """Whether to register it now with what was seen; a look that hangs must not keep it back."""
        return self.is_well or now - self.began >= SHOWN_AFTER

    def next_pause(self, now: float) -> float | None:
        """Seconds until the next look; None: there is none."""
        if self.is_well or now >= self.until:
            return None
        if now - self.began >= SHOWN_AFTER:
            return PAUSE_WHEN_SHOWN
        pause, self.pause = self.pause, min(self.pause * GROWTH, LONGEST_PAUSE)
        return pause


def looking_at(registration: Registration, now: float, *, until_it_listens: bool) -> Looking | None:
    """None: there is nothing to look at.

    `until_it_listens` has a service without a check wait until its port answers; the original does not.
    """
    place = registration.behind
    behind = TcpProbe(place.address, place.port, DIRECT_TIMEOUT) if place else None
    probe = first_look(registration)
    if probe is not None:
        # many are looked at side by side, and none may hold up the others for long
        probe = replace(probe, timeout=min(probe.timeout, SHOWN_AFTER))
        interval = duration_seconds(registration.check.interval if registration.check else "")
        watch = min(interval or duration_seconds(DEFAULT_INTERVAL) or 0.0, LONGEST_WATCH)
        return Looking(probe, behind if isinstance(probe, TcpProbe) else None, now, now + SHOWN_AFTER + watch)
    if until_it_listens and registration.check is None and "udp" not in registration.tags:
        endpoint = TcpProbe(registration.address or "localhost", registration.port, SHOWN_AFTER)
        return Looking(endpoint, behind, now, now + SHOWN_AFTER)
    return None


def see(probe: Probe, behind: TcpProbe | None) -> Status:
    """What Consul's check would see.

    Docker's proxy accepts connections to a published port before anything listens behind it, so a TCP look asks the
    container itself first. Where it cannot be reached from here, which no refusal says, the published port must do.
    """
    if behind is not None:
        try:
            create_connection((behind.host, behind.port), behind.timeout).close()
        except ConnectionRefusedError:
            return "critical"
        except OSError:
            pass
    return look(probe).status
