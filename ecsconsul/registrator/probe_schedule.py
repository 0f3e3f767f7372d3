"""When to probe a new service, and which status to register it with.

A service is registered with its probed status. One that isn't healthy is usually still starting, so it is probed again
until it is. After CRITICAL_AFTER it is registered as critical; probing goes on until Consul's own check must have run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from socket import create_connection

from .checks import DEFAULT_INTERVAL, Probe, Status, TcpProbe, UdpProbe, duration_seconds
from .probe import run_probe
from .rules import Registration, initial_probe

# All in seconds.
MIN_PAUSE, MAX_PAUSE = 0.01, 0.5
CRITICAL_AFTER = 1.0
# Consul runs its first check within the interval; with a long interval, probing stops before that.
MAX_PROBING = 60.0
DIRECT_TIMEOUT = 0.3
# Nothing checks a UDP port later on.
UDP_PATIENCE = 30.0


@dataclass
class ProbeSchedule:
    """The probes of one service since `began`; `status` is the result of the last one."""

    probe: Probe | UdpProbe
    behind: TcpProbe | None
    began: float
    until: float
    patience: float  # seconds after which it is registered as it is
    status: Status | None = None
    registered: Status | None = None  # the status it was registered with

    @property
    def healthy(self) -> bool:
        return self.status in ("passing", "warning")

    @property
    def recovered(self) -> bool:
        """Whether it was registered as critical and has become healthy."""
        return self.registered == "critical" and self.healthy

    def is_decided(self, now: float) -> bool:
        """Whether to register it now; a probe that hangs must not delay this beyond the schedule's patience."""
        return self.healthy or now - self.began >= self.patience

    def pause(self, now: float) -> float | None:
        """Seconds until the next probe: a tenth of the time it has taken so far, within limits. None: no more."""
        if self.healthy or now >= self.until:
            return None
        return min(max((now - self.began) / 10, MIN_PAUSE), MAX_PAUSE)


def schedule_probes(registration: Registration, now: float, *, wait_for_port: bool) -> ProbeSchedule | None:
    """The schedule for a new service; None if it is registered without probing.

    With `wait_for_port`, a service without a check is probed as well, and registered once its port accepts connections,
    or is bound if it is UDP.
    """
    place = registration.behind
    behind = TcpProbe(place.address, place.port, DIRECT_TIMEOUT) if place else None
    probe = initial_probe(registration)
    if probe is not None:
        # probes share a pool of threads, so a slow one must not hold up the others for long
        probe = replace(probe, timeout=min(probe.timeout, CRITICAL_AFTER))
        interval = duration_seconds(registration.check.interval if registration.check else "")
        watch = min(interval or duration_seconds(DEFAULT_INTERVAL) or 0.0, MAX_PROBING)
        direct = behind if isinstance(probe, TcpProbe) else None
        return ProbeSchedule(probe, direct, now, now + CRITICAL_AFTER + watch, CRITICAL_AFTER)
    if wait_for_port and registration.check is None and registration.socket:
        return ProbeSchedule(registration.socket, None, now, now + UDP_PATIENCE, UDP_PATIENCE)
    if wait_for_port and registration.check is None and "udp" not in registration.tags:
        endpoint = TcpProbe(registration.address or "localhost", registration.port, CRITICAL_AFTER)
        return ProbeSchedule(endpoint, behind, now, now + CRITICAL_AFTER, CRITICAL_AFTER)
    return None


def probe_status(probe: Probe | UdpProbe, behind: TcpProbe | None) -> Status:
    """The status that Consul's own check would report.

    Docker's proxy accepts connections to a published port before anything listens in the container. A TCP probe
    therefore tries the container's own address first, and relies on the published port only if that is out of reach.
    """
    if behind is not None:
        try:
            create_connection((behind.host, behind.port), behind.timeout).close()
        except ConnectionRefusedError:
            return "critical"
        except OSError:
            pass
    return run_probe(probe).status
