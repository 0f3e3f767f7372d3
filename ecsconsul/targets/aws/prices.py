"""Estimates what a lab costs: asks for the price of each item of its bill, all at once and for a few seconds only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, wait
from functools import partial
from typing import Any

from ...config.lab import Lab
from ...errors import LabError
from ...polling import in_background
from ..client_errors import client_error, error_code
from ..commands import CostLine, Estimate
from .bill import Item, PriceQuery, bill_of_materials
from .price_list import Price, ask, endpoint_region
from .session import Session, is_denied, is_inconclusive

# Seconds, for all prices together and for one answer. At most 8 are asked for; AWS takes 10 requests at once:
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-pelong.html
DEADLINE, READ_TIMEOUT = 6.0, 4.0
_WHAT = "AWS's price list can't be read"

Answer = Price | LabError | None


def estimate(session: Session, lab: Lab, has_addresses: Callable[[], bool]) -> Estimate:
    """What the lab costs as the config describes it. Raises LabError if no price can be had."""
    identity, region = session.identity(), session.region
    endpoint = endpoint_region(identity.partition, region)
    if endpoint is None:
        raise LabError(_WHAT, why=f"the partition {identity.partition} has no price list API")
    try:
        public = has_addresses()
    except LabError:
        # a lab without a network can't be made; as the default one, it would have them
        public = True
    items = bill_of_materials(lab, region, public=public)
    emulator = session.endpoint()
    # an emulator without a price list answers with an internal error, which would only come again
    attempts = 1 if emulator else 2
    client = session.impatient_client("pricing", region=endpoint, read_timeout=READ_TIMEOUT, attempts=attempts)
    return summed(items, answers(client, [item.query for item in items], emulator))


def answers(
    client: Any, queries: Iterable[PriceQuery], emulator: str | None = None, *, seconds: float = DEADLINE
) -> dict[PriceQuery, Answer]:
    """What is known of each price after so many seconds: itself, None if the list lacks it, or why it isn't known."""
    asked = {query: in_background(partial(_asked, client, query, emulator)) for query in dict.fromkeys(queries)}
    wait(asked.values(), seconds, FIRST_EXCEPTION)
    late = LabError(_WHAT, why=f"no answer within {seconds:.0f} s")
    return {query: answer.result() if answer.done() else late for query, answer in asked.items()}


def _asked(client: Any, query: PriceQuery, emulator: str | None) -> Answer:
    try:
        return ask(client, query)
    except client_error() as error:
        return LabError(_WHAT, why=_why(error, emulator))
    except LabError as error:
        return LabError(_WHAT, why=str(error))


def _why(error: Exception, emulator: str | None) -> str:
    if is_denied(error):
        return "you may not ask for prices (pricing:GetProducts)"
    if emulator and is_inconclusive(error):
        return f"{emulator} has none ({error_code(error)})"
    return str(error).partition("\n")[0]


def summed(items: Iterable[Item], prices: Mapping[PriceQuery, Answer]) -> Estimate:
    """The estimate of a bill. Raises LabError if it would have no price at all, and none was merely missing."""
    lines, unknown, currencies = [], [], []
    for item in items:
        price = prices[item.query]
        if isinstance(price, Price):
            lines.append(CostLine(item.what, item.fewest, item.most, item.per, price.amount))
            currencies.append(price.currency)
        else:
            unknown.append(item.what)
    errors = [answer for answer in prices.values() if isinstance(answer, LabError)]
    if not lines and errors:
        raise errors[0]
    if len(set(currencies)) > 1:
        raise LabError(_WHAT, why=f"it has prices in {' and '.join(sorted(set(currencies)))}")
    return Estimate(currencies[0] if currencies else "", tuple(lines), tuple(unknown))
