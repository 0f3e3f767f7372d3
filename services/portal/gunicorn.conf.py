"""gunicorn's settings, read by it from the working folder; where to listen is PORT's and HOST's to say."""

import os
import signal

_host, _port = os.environ.get("HOST", "0.0.0.0"), os.environ.get("PORT", "4567")
bind = f"[{_host}]:{_port}" if ":" in _host else f"{_host}:{_port}"

# One process is one task: more of them is the scheduler's to start.
workers = 1
worker_class = "gthread"
threads = 32
# The port opens once the application is loaded, and an invalid setting ends the process before it does.
preload_app = True

# Seconds for requests in flight after SIGTERM; a scheduler's SIGKILL comes after 30.
graceful_timeout = 10
keepalive = 5

accesslog = "-"
# By default one socket file for all gunicorns of a user: several tasks would fight for it.
control_socket_disable = True
# The heartbeat file (unlinked at once) belongs in memory: a busy disk would stall the worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# gunicorn loses a SIGTERM that reaches a worker between its fork and its own signal handlers; the stop then
# takes the whole graceful_timeout. So the signal waits meanwhile.
def _hold() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release(worker: object = None) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


os.register_at_fork(before=_hold, after_in_parent=_release)
post_worker_init = _release
