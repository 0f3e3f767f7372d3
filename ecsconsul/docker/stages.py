"""What the stages of a Dockerfile put into an image, and how the image runs. Pure.

https://docs.docker.com/reference/dockerfile/ is the source of each rule.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..errors import LabError
from .instructions import Instruction, Source, json_words
from .substitution import SubstitutionFailed, split_words, substitute

DEFAULT_SHELL = ("/bin/sh", "-c")
# the PATH of an image whose base sets none, and that of the official images
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# a shell would not replace itself with a command that one of these belongs to, or that sets a variable first
_NOT_SIMPLE = re.compile(
    r"[;&|\n(){}<>`]|\$\(|^\s*(\w+=|!|\.\s|(exec|if|for|while|case|until|cd|set|export)\b)",
)


@dataclass(frozen=True)
class ImageConfig:
    """How an image runs. Paths are absolute inside the image."""

    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    health_check: tuple[str, ...] = ()
    stop_signal: str = ""


@dataclass(frozen=True)
class Copy:
    """COPY or ADD. `destination` is absolute, with a slash at its end if it must be a folder."""

    line: int
    sources: tuple[str, ...]
    destination: str
    stage: int | str | None = None  # the stage to copy from or the name of an image, None for the build context
    mode: int | None = None
    owner: str = ""
    excluded: tuple[str, ...] = ()
    unpacks: bool = False
    texts: tuple[tuple[str, str], ...] = ()  # names and contents of here-documents


@dataclass(frozen=True)
class Folder:
    """A folder that WORKDIR creates."""

    path: str


@dataclass(frozen=True)
class Run:
    """RUN: its text in one line, and where it would run."""

    line: int
    text: str
    workdir: str


Operation = Copy | Folder | Run


@dataclass(frozen=True)
class Stage:
    """One stage. `base` is an earlier stage, or the name of an image."""

    base: int | str
    name: str
    operations: tuple[Operation, ...]
    config: ImageConfig


def read_stages(source: Source, build_args: Mapping[str, str]) -> list[Stage]:
    """The stages of a Dockerfile in order; the last one is the image. Raises LabError with file and line."""
    reader = _Reader(source, build_args)
    for instruction in source.instructions:
        reader.read(instruction)
    if not reader.stages:
        raise LabError("The Dockerfile has no FROM", where=str(source.path), why="no stage begins in it")
    return reader.finished()


class _Reader:
    """Reads instruction after instruction into the stage at hand."""

    def __init__(self, source: Source, build_args: Mapping[str, str]) -> None:
        self.stages: list[Stage] = []
        self._source = source
        self._build_args = build_args
        self._global: dict[str, str] = {}  # the arguments before the first FROM
        self._arguments: dict[str, str] = {}
        self._operations: list[Operation] = []
        self._config = ImageConfig()
        self._shell: tuple[str, ...] = DEFAULT_SHELL
        self._has_command = False

    def read(self, one: Instruction) -> None:
        handler = self._handlers().get(one.keyword)
        if handler is None:
            raise self._fault(one, f"{one.keyword} is no instruction of a Dockerfile")
        if one.keyword not in ("FROM", "ARG") and not self.stages:
            raise self._fault(one, f"{one.keyword} comes before the first FROM")
        handler(one)

    def _handlers(self) -> Mapping[str, Callable[[Instruction], None]]:
        return {
            "FROM": self._from,
            "ARG": self._arg,
            "ENV": self._env,
            "LABEL": self._label,
            "WORKDIR": self._workdir,
            "COPY": self._copy,
            "ADD": self._add,
            "RUN": self._run,
            "CMD": self._cmd,
            "ENTRYPOINT": self._entrypoint,
            "SHELL": self._set_shell,
            "USER": self._user,
            "EXPOSE": self._expose,
            "HEALTHCHECK": self._healthcheck,
            "STOPSIGNAL": self._stopsignal,
            **dict.fromkeys(("VOLUME", "ONBUILD", "MAINTAINER"), self._nothing),
        }

    def finished(self) -> list[Stage]:
        self._close()
        return self.stages

    def _close(self) -> None:
        if self.stages:
            self.stages[-1] = replace(self.stages[-1], operations=tuple(self._operations), config=self._config)

    # stages and variables

    def _from(self, one: Instruction) -> None:
        self._close()
        words = self._words(one, self._global)
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
            raise self._fault(one, "FROM takes an image, and AS with a name")
        base: int | str = self._stage(words[0]) if self._is_stage(words[0]) else words[0]
        inherited = self.stages[base].config if isinstance(base, int) else ImageConfig()
        self.stages.append(Stage(base, words[2].lower() if len(words) == 3 else "", (), inherited))
        self._config, self._operations, self._arguments = inherited, [], {}
        self._shell, self._has_command = DEFAULT_SHELL, False

    def _arg(self, one: Instruction) -> None:
        for word in split_words(one.value, self._source.escape):
            name, separator, given = word.partition("=")
            default = self._substituted(one, given) if separator else None
            value = self._build_args.get(name, default if default is not None else self._global.get(name))
            if value is not None:
                (self._arguments if self.stages else self._global)[name] = value

    def _env(self, one: Instruction) -> None:
        variables = dict(self._config.environment)
        # all of one instruction see the values from before it
        variables.update({name: self._substituted(one, value) for name, value in self._pairs(one)})
        self._config = replace(self._config, environment=variables)

    def _label(self, one: Instruction) -> None:
        labels = {self._substituted(one, name): self._substituted(one, value) for name, value in self._pairs(one)}
        self._config = replace(self._config, labels={**self._config.labels, **labels})

    # files

    def _workdir(self, one: Instruction) -> None:
        path = posixpath.normpath(posixpath.join(self._config.workdir, self._substituted(one, one.value.strip())))
        self._config = replace(self._config, workdir=path)
        self._operations.append(Folder(path))

    def _copy(self, one: Instruction) -> None:
        self._operations.append(self._copied(one))

    def _add(self, one: Instruction) -> None:
        self._operations.append(replace(self._copied(one), unpacks=True))

    def _copied(self, one: Instruction) -> Copy:
        words = json_words(one.value) or self._words(one, self._variables())
        if len(words) < 2:
            raise self._fault(one, f"{one.keyword} takes sources and a destination")
        documents = {f"<<{document.name}": document for document in one.heredocs}
        names = [re.sub(r"^<<-?['\"]?(\w[\w.]*)['\"]?$", r"<<\1", word) for word in words[:-1]]
        texts = tuple(
            (documents[name].name, self._expanded(one, documents[name].content, documents[name].expands))
            for name in names
            if name in documents
        )
        return Copy(
            one.line,
            tuple(name for name in names if name not in documents),
            self._destination(words[-1], many=len(names) > 1),
            self._from_stage(one),
            self._mode(one),
            self._substituted(one, one.options.get("chown", "")),
            (one.options["exclude"],) if "exclude" in one.options else (),
            texts=texts,
        )

    def _destination(self, word: str, *, many: bool) -> str:
        path = posixpath.normpath(posixpath.join(self._config.workdir, word))
        is_folder = many or word.endswith(("/", "/.", "/..")) or word in (".", "..")
        return f"{path.rstrip('/')}/" if is_folder else path

    def _from_stage(self, one: Instruction) -> int | str | None:
        if "from" not in one.options:
            return None
        name = self._substituted(one, one.options["from"])
        return self._stage(name) if self._is_stage(name) else name

    def _mode(self, one: Instruction) -> int | None:
        given = self._substituted(one, one.options.get("chmod", ""))
        if given and not re.fullmatch(r"[0-7]{3,4}", given):
            raise self._fault(one, f"--chmod={given} is no octal number, such as 755")
        return int(given, 8) if given else None

    def _run(self, one: Instruction) -> None:
        text = " ".join([one.value, *(document.content for document in one.heredocs)])
        self._operations.append(Run(one.line, " ".join(text.split()), self._config.workdir))

    # how it runs

    def _cmd(self, one: Instruction) -> None:
        self._has_command = True
        self._config = replace(self._config, command=self._command(one))

    def _entrypoint(self, one: Instruction) -> None:
        """A command of an earlier stage doesn't fit the new entry point, so Docker clears it."""
        command = self._config.command if self._has_command else ()
        self._config = replace(self._config, entrypoint=self._command(one), command=command)

    def _command(self, one: Instruction) -> tuple[str, ...]:
        words = json_words(one.value)
        if words is not None:
            return tuple(words)
        text = one.value.strip()
        if self._shell == DEFAULT_SHELL and not _NOT_SIMPLE.search(text):
            # otherwise the shell stays between the program and the signals that a task gets
            text = f"exec {text}"
        return (*self._shell, text)

    def _set_shell(self, one: Instruction) -> None:
        words = json_words(one.value)
        if not words:
            raise self._fault(one, 'SHELL takes a JSON list, such as ["/bin/bash", "-c"]')
        self._shell = tuple(words)

    def _user(self, one: Instruction) -> None:
        self._config = replace(self._config, user=self._substituted(one, one.value.strip()))

    def _expose(self, one: Instruction) -> None:
        ports = (*self._config.ports, *self._words(one, self._variables()))
        self._config = replace(self._config, ports=tuple(dict.fromkeys(ports)))

    def _healthcheck(self, one: Instruction) -> None:
        keyword, _, rest = one.value.strip().partition(" ")
        if keyword.upper() == "NONE":
            self._config = replace(self._config, health_check=())
            return
        words = json_words(rest)
        check: tuple[str, ...] = ("CMD", *words) if words is not None else ("CMD-SHELL", rest.strip())
        self._config = replace(self._config, health_check=check)

    def _stopsignal(self, one: Instruction) -> None:
        self._config = replace(self._config, stop_signal=self._substituted(one, one.value.strip()))

    def _nothing(self, one: Instruction) -> None:
        """The instruction says nothing about the files or how they run."""

    # words

    def _variables(self) -> dict[str, str]:
        """ENV beats ARG."""
        return {"PATH": DEFAULT_PATH, **self._arguments, **self._config.environment}

    def _substituted(self, one: Instruction, word: str) -> str:
        try:
            return substitute(word, self._variables() if self.stages else self._global, self._source.escape)
        except SubstitutionFailed as error:
            raise self._fault(one, str(error)) from error

    def _words(self, one: Instruction, variables: Mapping[str, str]) -> list[str]:
        try:
            words = split_words(one.value, self._source.escape)
            return [substitute(word, variables, self._source.escape) for word in words]
        except SubstitutionFailed as error:
            raise self._fault(one, str(error)) from error

    def _pairs(self, one: Instruction) -> Iterator[tuple[str, str]]:
        """`A=1 B=2`, or the old form `A the rest of the line`."""
        words = split_words(one.value, self._source.escape)
        if words and "=" not in words[0]:
            name, _, rest = one.value.strip().partition(words[0])
            yield words[0], rest.strip()
            return
        for word in words:
            name, separator, value = word.partition("=")
            if not separator:
                raise self._fault(one, f"{word!r} lacks a value")
            yield name, value

    def _expanded(self, one: Instruction, text: str, expands: bool) -> str:
        if not expands:
            return text
        # quotes mean nothing in a document, and backslashes only before a variable
        lines = (re.sub(r"(['\"]|\\(?!\$))", r"\\\1", line) for line in text.splitlines(keepends=True))
        return "".join(self._substituted(one, line) for line in lines)

    def _is_stage(self, name: str) -> bool:
        return name.lower() in (stage.name for stage in self.stages if stage.name) or (
            name.isdigit() and int(name) < len(self.stages)
        )

    def _stage(self, name: str) -> int:
        names = [stage.name for stage in self.stages]
        if name.lower() in names:
            return len(names) - 1 - names[::-1].index(name.lower())
        return int(name)

    def _fault(self, one: Instruction, why: str) -> LabError:
        return self._source.fault(one.line, "The Dockerfile is wrong", why)
