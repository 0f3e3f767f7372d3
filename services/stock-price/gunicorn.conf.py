"""gunicorn's settings, which it reads from the working folder. It listens on HOST and PORT."""

import os
import signal

_host, _port = os.environ.get("HOST", "0.0.0.0"), os.environ.get("PORT", "4567")
bind = f"[{_host}]:{_port}" if ":" in _host else f"{_host}:{_port}"

# One process per task: the scheduler starts more tasks.
workers = 1
worker_class = "gthread"
threads = 8
# The port opens after the application is loaded; an invalid setting exits before that.
preload_app = True

# Seconds for requests in flight after SIGTERM; a scheduler's SIGKILL comes after 30.
graceful_timeout = 10
keepalive = 5

accesslog = "-"
# By default all gunicorns of a user share one socket file, on which several tasks would collide.
control_socket_disable = True
# Keeps the heartbeat file (unlinked at once) in memory: a busy disk would stall the worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# gunicorn loses a SIGTERM that reaches a worker between its fork and its signal handlers, and then takes the whole
# graceful_timeout to stop. So the signal is blocked in between.
def _hold() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release(worker: object = None) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


os.register_at_fork(before=_hold, after_in_parent=_release)
post_worker_init = _release
