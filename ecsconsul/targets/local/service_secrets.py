"""Puts the values of the services' secrets into the local region's SSM and Secrets Manager, where its ECS reads them.

A value comes from the file that `local.secrets` names, or else from the environment variable of its name. Values appear
in no message, on no command line and in no log.
"""

from __future__ import annotations

import json
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

from ...config.env_file import read_env_file
from ...config.lab import Lab
from ...errors import LabError
from ..base import Say

# ARN:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, and after it :JSON-KEY:VERSION-STAGE:VERSION-ID
_SECRET_ARN_PARTS = 7


class Source(NamedTuple):
    """Where ECS reads a value: a parameter of SSM, or a secret or one key of its JSON."""

    service: str
    name: str
    key: str = ""


def sources_of(lab: Lab) -> dict[str, set[Source]]:
    """Where the services' containers read each variable's value, by the variable's name."""
    found: defaultdict[str, set[Source]] = defaultdict(set)
    for service in lab.services:
        for container in service.all_containers:
            for name, value_from in container.secrets.items():
                found[name].add(source_of(value_from))
    return dict(found)


def source_of(value_from: str) -> Source:
    """The source that a `valueFrom` names: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Secret.html

    An ARN of SSM doesn't say whether the parameter's name begins with a slash; with more than one part it does.
    """
    if not value_from.startswith("arn:"):
        return Source("ssm", value_from)
    parts = value_from.split(":")
    if parts[2] == "ssm":
        name = value_from.partition(":parameter/")[2]
        return Source("ssm", f"/{name}" if "/" in name else name)
    return Source("secretsmanager", parts[_SECRET_ARN_PARTS - 1], *parts[_SECRET_ARN_PARTS:][:1])


def given_values(lab: Lab, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values that are at hand, by the variables' names. Raises LabError if the file of secrets can't be used."""
    names = sources_of(lab)
    known = dict(os.environ if environment is None else environment)
    if names and lab.local.secrets:
        known |= _file_of_secrets(Path(lab.local.secrets))
    return {name: known[name] for name in names if name in known}


def _file_of_secrets(path: Path) -> dict[str, str]:
    where = f"config, local.secrets: {path}"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise LabError("The file of secrets can't be read", where=where, why=error.strerror or str(error)) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        why = f"its mode is {stat.S_IMODE(mode):o}, so others than its owner may use it"
        raise LabError("The file of secrets isn't private", where=where, why=why, hint=f"chmod 600 {path}")
    found = read_env_file(path)
    if found.problems:
        raise LabError("The file of secrets has mistakes", where=where, why="\n".join(found.problems))
    return found.values


class ServiceSecrets:
    """What `up` does about the secrets of a lab on this machine; nothing for a lab without any.

    `client` makes boto3 clients, and raises TargetAbsent while there is no region.
    """

    def __init__(self, lab: Lab, client: Callable[[str], Any]) -> None:
        self._lab = lab
        self._client = client

    def are_stored(self) -> bool:
        """Whether the region has all values. A file of secrets that can't be used counts as empty: `errors` says so."""
        sources = sources_of(self._lab)
        if not sources:
            return True
        try:
            given = given_values(self._lab)
        except LabError:
            given = {}
        return SecretValues(sources, self._client).are_stored(given)

    def store(self, say: Say) -> None:
        """Store what is at hand and not stored yet. Raises LabError if the file of secrets can't be used."""
        sources = sources_of(self._lab)
        if sources and (number := SecretValues(sources, self._client).store(given_values(self._lab))):
            say(f"wrote {number} secret{'s' if number > 1 else ''} to the region")

    def errors(self, *, absent: bool) -> list[LabError]:
        """Why the region can't have all values, and files that only ECS in AWS reads; `absent`: there's no region."""
        errors, sources = list(_files_in_s3(self._lab)), sources_of(self._lab)
        try:
            given = given_values(self._lab)
        except LabError as error:
            return [*errors, error]
        missing = [name for name in sources if name not in given]
        if missing and not absent:
            missing = SecretValues(sources, self._client).missing(given)
        return [*errors, _missing_error(missing, self._lab)] if missing else errors


class SecretValues:
    """The values of secrets in a region, by the variables' names and their sources."""

    def __init__(self, sources: Mapping[str, Set[Source]], client: Callable[[str], Any]) -> None:
        self._sources = sources
        self._client = client

    def missing(self, given: Mapping[str, str]) -> list[str]:
        """The names whose values are neither at hand nor in the region."""
        return [name for name in self._sources if name not in given and not self._has(name)]

    def are_stored(self, given: Mapping[str, str]) -> bool:
        """Whether the region has all values: those at hand, or any for a variable whose value isn't."""
        texts = self._texts(given)
        stored = all(self._stored(source) == text for source, text in texts.items())
        return stored and not self.missing(given)

    def store(self, given: Mapping[str, str]) -> int:
        """Store the values at hand; returns how many parameters and secrets were written."""
        changed = {source: text for source, text in self._texts(given).items() if self._stored(source) != text}
        for source, text in changed.items():
            self._write(source, text)
        return len(changed)

    def _has(self, name: str) -> bool:
        return all(self._value(source) is not None for source in self._sources[name])

    def _value(self, source: Source) -> str | None:
        """The value at a source; None without one."""
        text = self._stored(source)
        if text is None or not source.key:
            return text
        found = _json_of(text).get(source.key)
        return None if found is None else str(found)

    def _texts(self, given: Mapping[str, str]) -> dict[Source, str]:
        """The whole text of each parameter and secret for which there is a value."""
        plain: dict[Source, str] = {}
        keyed: defaultdict[Source, dict[str, str]] = defaultdict(dict)
        for name, sources in self._sources.items():
            for source in sources if name in given else ():
                if source.key:
                    keyed[source._replace(key="")][source.key] = given[name]
                else:
                    plain[source] = given[name]
        # a secret that is also used as a whole has its JSON from there
        texts = {whole: self._merged(whole, keys) for whole, keys in keyed.items() if whole not in plain}
        return {**texts, **plain}

    def _merged(self, whole: Source, keys: Mapping[str, str]) -> str:
        """The JSON of a secret with these keys; the others stay as they are."""
        return json.dumps({**_json_of(self._stored(whole) or ""), **keys}, sort_keys=True)

    def _stored(self, source: Source) -> str | None:
        """The text of a parameter or a secret in the region; None without one."""
        client = self._client(source.service)
        if source.service == "ssm":
            try:
                return str(client.get_parameter(Name=source.name, WithDecryption=True)["Parameter"]["Value"])
            except client.exceptions.ParameterNotFound:
                return None
        try:
            return str(client.get_secret_value(SecretId=source.name).get("SecretString", ""))
        except client.exceptions.ResourceNotFoundException:
            return None

    def _write(self, source: Source, text: str) -> None:
        client = self._client(source.service)
        if source.service == "ssm":
            client.put_parameter(Name=source.name, Value=text, Type="SecureString", Overwrite=True)
        elif self._stored(source) is None:
            client.create_secret(Name=source.name, SecretString=text)
        else:
            client.put_secret_value(SecretId=source.name, SecretString=text)


def _json_of(text: str) -> dict[str, Any]:
    """The object in a secret's text; empty if it's something else."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _files_in_s3(lab: Lab) -> Iterator[LabError]:
    for service in lab.services:
        for container in service.all_containers:
            for arn in container.env_file:
                yield LabError(
                    f"{arn} can't be read on this machine",
                    where=f"service {service.name}, env_file",
                    why="only ECS in AWS reads variables from S3",
                    hint="name a file beside the config, or use `--target aws`",
                )


def _missing_error(names: list[str], lab: Lab) -> LabError:
    """The error for secrets without a value."""
    first = names[0]
    where = f"in {lab.local.secrets}" if lab.local.secrets else "in a file that `local: {secrets: FILE}` names"
    return LabError(
        f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no value on this machine",
        where="config, secrets",
        why="a lab on this machine doesn't read secrets from AWS",
        hint=f"set the environment variable {first} for `up`, or write {first}=VALUE {where}",
    )
