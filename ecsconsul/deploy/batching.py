"""Lets steps that ask the same thing at the same time share one request; what is asked is its user's to know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class _Question(Generic[T]):
    """What one thread asks, and what it is answered."""

    name: str
    answered: bool = False
    answer: T | None = None
    error: BaseException | None = None

    def result(self) -> T | None:
        if self.error:
            raise self.error
        return self.answer


class Batcher(Generic[T]):
    """Questions that come while a round is under way are answered together by the next one.

    One of those who ask leads the round: it asks for all, `most` names in a request. Nobody waits longer than a
    round takes, and nobody is answered by a request that was begun before the question.
    """

    def __init__(self, ask: Callable[[list[str]], Mapping[str, T]], most: int) -> None:
        self._ask = ask
        self._most = most
        self._turn = threading.Condition()
        self._is_led = False
        self._waiting: list[_Question[T]] = []

    def answer(self, name: str, before: Callable[[], None] | None = None) -> T | None:
        """What is known of the name; None when nothing is.

        The leader calls its `before` before it asks, so that a pause is made once for all. Raises what asking or
        `before` raises; when that is the latter, another one leads.
        """
        question: _Question[T] = _Question(name)
        with self._turn:
            self._waiting.append(question)
            self._turn.wait_for(lambda: question.answered or not self._is_led)
            if question.answered:
                return question.result()
            self._is_led = True
        try:
            if before:
                before()
            self._answer_all()
        finally:
            with self._turn:
                self._is_led = False
                self._waiting = [one for one in self._waiting if one is not question]
                self._turn.notify_all()
        return question.result()

    def _answer_all(self) -> None:
        with self._turn:
            asked, self._waiting = self._waiting, []
        names = list(dict.fromkeys(question.name for question in asked))
        for some in in_groups(names, self._most):
            self._answer_some([question for question in asked if question.name in some], some)

    def _answer_some(self, questions: list[_Question[T]], names: list[str]) -> None:
        try:
            answers = self._ask(names)
            for question in questions:
                question.answer = answers.get(question.name)
        except BaseException as error:  # noqa: BLE001 - carried to the threads that asked, and raised there
            for question in questions:
                question.error = error
        for question in questions:
            question.answered = True


def in_groups(items: Iterable[str], most: int) -> list[list[str]]:
    """The items in their order, `most` of them in a group."""
    every = list(items)
    return [every[start : start + most] for start in range(0, len(every), most)]
