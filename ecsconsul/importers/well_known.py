"""What is well known of public images: the port they listen on, and the memory they need at least.

The ports are those that the images' Dockerfiles EXPOSE; the memory is what their documentation asks for.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Known(NamedTuple):
    """The main port (0: none), and the least memory in MiB."""

    port: int
    memory: int


DEFAULT_MEMORY = 512
_IMAGES = {
    "adminer": Known(8080, 256), "cassandra": Known(9042, 1792), "clickhouse": Known(8123, 1536),
    "clickhouse-server": Known(8123, 1536), "couchdb": Known(5984, 512), "elasticsearch": Known(9200, 1536),
    "gitea": Known(3000, 512), "grafana": Known(3000, 256), "haproxy": Known(0, 128), "httpd": Known(80, 256),
    "influxdb": Known(8086, 512), "jenkins": Known(8080, 1024), "kafka": Known(9092, 1024),
    "keycloak": Known(8080, 1024), "kibana": Known(5601, 1024), "localstack": Known(4566, 1024),
    "logstash": Known(5044, 1024), "mailhog": Known(1025, 128), "mariadb": Known(3306, 512),
    "memcached": Known(11211, 128), "minio": Known(9000, 512), "mongo": Known(27017, 512),
    "mongo-express": Known(8081, 256), "mssql": Known(1433, 2048), "mysql": Known(3306, 768),
    "nats": Known(4222, 128), "neo4j": Known(7474, 1024), "nextcloud": Known(80, 512), "nginx": Known(80, 128),
    "node-exporter": Known(9100, 128), "opensearch": Known(9200, 1536), "oracle": Known(1521, 3072),
    "phpmyadmin": Known(80, 256), "postgres": Known(5432, 512), "postgis": Known(5432, 512),
    "prometheus": Known(9090, 512), "rabbitmq": Known(5672, 512), "redis": Known(6379, 128),
    "registry": Known(5000, 256), "solr": Known(8983, 1024),
    "sonarqube": Known(9000, 1792), "tomcat": Known(8080, 512), "traefik": Known(80, 128),
    "valkey": Known(6379, 128), "vault": Known(8200, 256), "wordpress": Known(80, 256),
    "zookeeper": Known(2181, 512),
}  # fmt: skip
_UNKNOWN = Known(0, DEFAULT_MEMORY)


def known(image: str) -> Known:
    """What is known of an image, by the last part of its name and without its tag or digest."""
    parts = re.sub(r"@.*|:[^/:]*$", "", image).lower().split("/")
    name = parts[-2] if parts[-1] == "server" and len(parts) > 1 else parts[-1]
    found = _IMAGES.get(name) or next((one for word, one in _IMAGES.items() if name == f"cp-{word}"), _UNKNOWN)
    return Known(0, found.memory) if name.startswith(("php", "wordpress")) and "fpm" in image else found
