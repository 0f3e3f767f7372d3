"""Durations on the command line, written as in the config: a number with a unit (ms, s, m or h)."""

from __future__ import annotations

import click


def in_seconds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """The seconds of an option such as 30s or 5m; None if it isn't given. Raises BadParameter."""
    if value is None:
        return None
    import msgspec

    from ..config.scalars import Duration, seconds_of

    try:
        return seconds_of(msgspec.convert(value, Duration))
    except msgspec.ValidationError:
        raise click.BadParameter(f"{value!r} isn't a duration such as 30s or 5m", ctx, parameter) from None


timeout_option = click.option("--timeout", callback=in_seconds, metavar="TIME", help="The longest wait, such as 5m.")
wait_option = click.option("--wait/--no-wait", default=True, help="Wait until Consul sees the tasks.  [default: wait]")
