"""The variables with which other AWS and Consul clients use a local lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...region.runtimes.lab_dir import AccessKey, RegionInfo

if TYPE_CHECKING:
    from ...consul.lab_secrets import LabSecrets


def variables(info: RegionInfo, key: AccessKey, secrets: LabSecrets | None) -> dict[str, str]:
    """Who can read the lab's folder owns the lab, and may do everything in its AWS API and in its Consul."""
    return {
        "AWS_ENDPOINT_URL": info.endpoint,
        "AWS_REGION": info.region,
        "AWS_DEFAULT_REGION": info.region,
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        **(_of_consul(info, secrets) if secrets else {}),
    }


def _of_consul(info: RegionInfo, secrets: LabSecrets) -> dict[str, str]:
    from ...consul.lab_secrets import MANAGEMENT, MONITORING

    tokens = {"CONSUL_HTTP_TOKEN": secrets.token(MANAGEMENT), "CONSUL_MONITORING_TOKEN": secrets.token(MONITORING)}
    return {"CONSUL_HTTP_ADDR": f"http://{info.consul_http}", **tokens}
