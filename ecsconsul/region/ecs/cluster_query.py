"""ECS's cluster query language, in which placement constraints choose container instances. Pure.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .model import ContainerInstance, Task

MAX_LENGTH = 2000  # ECS's own limit for an expression
MAX_DEPTH = 50
_TOKEN = re.compile(
    r"""\s*(?:([()\[\],])|(&&|\|\||==|!=|=~|!~|>=|<=|>|<|!)"""
    r"""|"([^"]*)"|'([^']*)'|([^\s()\[\],=!<>&|"']+))"""
)
_WORDS = {
    "equals": "==", "not_equals": "!=", "in": "in", "not_in": "!in", "matches": "=~", "not_matches": "!~",
    "exists": "exists", "not_exists": "!exists", "greater_than": ">", "greater_than_equal": ">=", "less_than": "<",
    "less_than_equal": "<=", "and": "&&", "or": "||", "not": "!",
}  # fmt: skip
_COMPARE = ("==", "!=", "=~", "!~", ">", ">=", "<", "<=")

Test = Callable[[ContainerInstance, Sequence[Task]], bool]


class InvalidExpression(Exception):
    """An expression that isn't of the language, or asks for what the region doesn't know; the text says which part."""


@dataclass(frozen=True)
class _Token:
    text: str
    is_quoted: bool = False


def parse(expression: str) -> Test:
    """The test that an expression stands for: of an instance and the tasks on it. Raises InvalidExpression."""
    if not expression.strip() or len(expression) > MAX_LENGTH:
        raise InvalidExpression(f"an expression has 1 to {MAX_LENGTH} characters")
    return _Parser(list(_tokens(expression))).whole()


class _Parser:
    """Recursive descent: or, and, not, comparison."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Test:
        found = self._alternatives()
        if self._next < len(self._tokens):
            raise InvalidExpression(f"unexpected {self._tokens[self._next].text}")
        return found

    def _alternatives(self) -> Test:
        parts = [self._conjunction()]
        while self._accept("||"):
            parts.append(self._conjunction())
        return lambda instance, tasks: any(part(instance, tasks) for part in parts)

    def _conjunction(self) -> Test:
        parts = [self._negation()]
        while self._accept("&&"):
            parts.append(self._negation())
        return lambda instance, tasks: all(part(instance, tasks) for part in parts)

    def _negation(self) -> Test:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidExpression(f"nested more than {MAX_DEPTH} deep")
        found = self._one()
        self._depth -= 1
        return found

    def _one(self) -> Test:
        if self._accept("!"):
            negated = self._negation()
            return lambda instance, tasks: not negated(instance, tasks)
        if self._accept("("):
            found = self._alternatives()
            self._expect(")")
            return found
        return self._comparison()

    def _comparison(self) -> Test:
        values = _values_of(self._word("a subject"))
        if self._accept("exists"):
            return lambda instance, tasks: bool(list(values(instance, tasks)))
        if self._accept("!exists"):
            return lambda instance, tasks: not list(values(instance, tasks))
        if self._accept("!"):
            # `!in` and `!exists` are two tokens each
            if self._accept("exists"):
                return lambda instance, tasks: not list(values(instance, tasks))
            self._expect("in")
            return self._member(values, negated=True)
        if self._accept("!in"):
            return self._member(values, negated=True)
        if self._accept("in"):
            return self._member(values, negated=False)
        operator = next((one for one in _COMPARE if self._accept(one)), None)
        if operator is None:
            raise InvalidExpression(f"no operator after {self._tokens[self._next - 1].text}")
        return _comparison(values, operator, self._word("an argument"))

    def _member(self, values: _Values, *, negated: bool) -> Test:
        self._expect("[")
        choices = {self._word("an argument")}
        while self._accept(","):
            choices.add(self._word("an argument"))
        self._expect("]")
        return lambda instance, tasks: bool(choices.intersection(values(instance, tasks))) != negated

    def _accept(self, symbol: str) -> bool:
        token = self._tokens[self._next] if self._next < len(self._tokens) else None
        if token is None or token.is_quoted or _WORDS.get(token.text.lower(), token.text) != symbol:
            return False
        self._next += 1
        return True

    def _expect(self, symbol: str) -> None:
        if not self._accept(symbol):
            found = self._tokens[self._next].text if self._next < len(self._tokens) else "the end"
            raise InvalidExpression(f"{symbol} expected, not {found}")

    def _word(self, what: str) -> str:
        token = self._tokens[self._next] if self._next < len(self._tokens) else None
        if token is None or (not token.is_quoted and not re.match(r"[\w.:/*^$+?\\{}@%#~-]", token.text)):
            raise InvalidExpression(f"{what} expected, not {token.text if token else 'the end'}")
        self._next += 1
        return token.text


_Values = Callable[[ContainerInstance, Sequence[Task]], Iterable[str]]


def _values_of(subject: str) -> _Values:
    """What a subject is for an instance: no value, one, or several. Raises InvalidExpression."""
    if subject.startswith("attribute:"):
        name = subject.removeprefix("attribute:")
        return lambda instance, tasks: [instance.attributes[name]] if name in instance.attributes else []
    known: dict[str, _Values] = {
        "agentConnected": lambda instance, tasks: [str(instance.connected).lower()],
        "ec2InstanceId": lambda instance, tasks: [instance.instance_id],
        "runningTasksCount": lambda instance, tasks: [str(len(tasks))],
        "task:group": lambda instance, tasks: {task.group for task in tasks},
    }
    if subject not in known:
        names = ", ".join(["attribute:NAME", *known])
        raise InvalidExpression(f"{subject} isn't a subject that the local region knows; it knows {names}")
    return known[subject]


def _comparison(values: _Values, operator: str, argument: str) -> Test:
    if operator in ("=~", "!~"):
        try:
            pattern = re.compile(argument)
        except re.error as error:
            raise InvalidExpression(f"{argument} isn't a regular expression: {error}") from error
        negated = operator == "!~"
        return lambda instance, tasks: any(map(pattern.fullmatch, values(instance, tasks))) != negated
    if operator in ("==", "!="):
        return lambda instance, tasks: (argument in set(values(instance, tasks))) == (operator == "==")
    bound = _number(argument)
    if bound is None:
        raise InvalidExpression(f"{argument} isn't a number, which {operator} needs")
    return lambda instance, tasks: any(_ordered(_number(value), operator, bound) for value in values(instance, tasks))


def _ordered(value: float | None, operator: str, bound: float) -> bool:
    if value is None:
        return False
    return {">": value > bound, ">=": value >= bound, "<": value < bound, "<=": value <= bound}[operator]


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else None


def _tokens(expression: str) -> Iterator[_Token]:
    text, position = expression.rstrip(), 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidExpression(f"can't be read from {text[position : position + 20]!r} on")
        position = match.end()
        bracket, operator, double, single, word = match.groups()
        quoted = double if double is not None else single
        yield _Token(quoted, is_quoted=True) if quoted is not None else _Token(bracket or operator or word)
