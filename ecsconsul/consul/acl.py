"""The lab's ACL policies and tokens, as the requests that create them.

Both worlds send the same requests: the local region by itself, in AWS the boot script of a Consul server. Sending them
again changes nothing. https://developer.hashicorp.com/consul/docs/reference/acl/rule
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from .lab_secrets import AGENT, MANAGEMENT, MONITORING, REGISTRATOR, LabSecrets, service_holder

ANONYMOUS_ACCESSOR = "00000000-0000-0000-0000-000000000002"
GLOBAL_MANAGEMENT = {"ID": "00000000-0000-0000-0000-000000000001"}
# Consul's answers to a policy or a token that is there: "already exists" and "already in use".
ALREADY_THERE = "already"
# The first word of the description of each token that is made here.
OURS = "ecsconsul"
# Every node of a lab is named after its EC2 instance.
NODES = "i-"

_READ, _WRITE = {"policy": "read"}, {"policy": "write"}
# Who has no token may see who is where: `dig`, `consul members` and the services need no more. No KV, no agent API.
_ANONYMOUS_RULES = {"node_prefix": {"": _READ}, "service_prefix": {"": _READ}}
# An agent registers its own node and signs in for its certificate. It reads services to compare them with its own.
_AGENT_RULES = {"node_prefix": {NODES: _WRITE}, "service_prefix": {"": _READ}}
# The Registrator asks its agent for its address, registers any service there, and nothing else.
_REGISTRATOR_RULES = {
    "agent_prefix": {NODES: _READ},
    "node_prefix": {"": _READ},
    "service_prefix": {"": _WRITE},
}
# Prometheus finds the agents by the catalog, and reads their metrics.
_MONITORING_RULES = {"agent_prefix": {NODES: _READ}, "node_prefix": {"": _READ}, "service_prefix": {"": _READ}}

Rules = dict[str, dict[str, dict[str, str]]]


class AclRequest(NamedTuple):
    """A PUT to Consul's HTTP API. An answer that says ALREADY_THERE is as good as success."""

    path: str
    body: dict[str, Any]


def acl_requests(lab_secrets: LabSecrets) -> list[AclRequest]:
    """The requests for the tokens that every lab has, in their order."""
    return [
        _policy("anonymous", _ANONYMOUS_RULES),
        AclRequest(f"/v1/acl/token/{ANONYMOUS_ACCESSOR}", _token_body("anonymous", _ANONYMOUS_RULES, lab_secrets)),
        *_holder_requests(lab_secrets, AGENT, AGENT, _AGENT_RULES),
        *_holder_requests(lab_secrets, REGISTRATOR, REGISTRATOR, _REGISTRATOR_RULES),
        *_holder_requests(lab_secrets, MONITORING, MONITORING, _MONITORING_RULES),
    ]


def service_requests(lab_secrets: LabSecrets, services: Iterable[str]) -> list[AclRequest]:
    """The requests for the tokens of services with a `ttl` check; each may write its own service and no other."""
    return [
        request
        for service in services
        for request in _holder_requests(lab_secrets, service_holder(service), "service", {"service": {service: _WRITE}})
    ]


def management_request(lab_secrets: LabSecrets) -> AclRequest:
    """The request for a further management token; a new cluster makes its first one from its configuration."""
    body = {**_identity(lab_secrets, MANAGEMENT), "Description": description_of("management", lab_secrets)}
    return AclRequest("/v1/acl/token", {**body, "Policies": [GLOBAL_MANAGEMENT]})


def _holder_requests(lab_secrets: LabSecrets, holder: str, name: str, rules: Rules) -> list[AclRequest]:
    """Create the policy and the token; the last request updates a token from an earlier version's policy."""
    identity = _identity(lab_secrets, holder)
    body = {**identity, **_token_body(name, rules, lab_secrets)}
    token = AclRequest("/v1/acl/token", body)
    return [_policy(name, rules), token, AclRequest(f"/v1/acl/token/{identity['AccessorID']}", body)]


def _identity(lab_secrets: LabSecrets, holder: str) -> dict[str, str]:
    return {"AccessorID": lab_secrets.accessor(holder), "SecretID": lab_secrets.token(holder)}


def _policy(name: str, rules: Rules) -> AclRequest:
    return AclRequest("/v1/acl/policy", {"Name": _policy_name(name, rules), "Rules": json.dumps(rules)})


def description_of(name: str, lab_secrets: LabSecrets) -> str:
    """A token's description, which also tells the generation of secrets that it belongs to."""
    return f"{OURS} {name} {lab_secrets.generation}"


def _token_body(name: str, rules: Rules, lab_secrets: LabSecrets) -> dict[str, Any]:
    return {"Description": description_of(name, lab_secrets), "Policies": [{"Name": _policy_name(name, rules)}]}


def _policy_name(name: str, rules: Rules) -> str:
    """Named after its rules too: a policy that exists is then known to have the right ones."""
    return f"ecsconsul-{name}-{hashlib.sha256(json.dumps(rules).encode()).hexdigest()[:12]}"
