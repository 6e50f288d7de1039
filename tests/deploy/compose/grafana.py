"""Checks the service grafana of docker-compose.yml, whose image is not pulled here.

    docker-compose config | grafana.py ROOT

ROOT is the repository. It ends with a message if an operator would get a login with a default
password, a port that other machines reach, or Grafana without the dashboards.
"""
import json
import sys
from pathlib import Path

import yaml

ROOT = Path(sys.argv[1])
EXPECTED = {
    "GF_AUTH_ANONYMOUS_ENABLED": "true",
    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
    "GF_AUTH_DISABLE_LOGIN_FORM": "true",
    "GF_AUTH_BASIC_ENABLED": "false",
    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
    "GF_USERS_ALLOW_SIGN_UP": "false",
}


def address(port):
    """The address of a published port, in the short and in the long form."""
    if isinstance(port, dict):
        return port.get("host_ip")
    return port.rsplit(":", 2)[0] if port.count(":") == 2 else None


def provisioned(folder):
    """The one file of a folder of deploy/grafana/provisioning."""
    (path,) = (ROOT / "deploy/grafana/provisioning" / folder).iterdir()
    return yaml.safe_load(path.read_text())


def check(services):
    grafana = services["grafana"]
    for port in grafana["ports"]:
        assert address(port) == "127.0.0.1", f"a port that other machines reach: {port}"
    environment = {name: str(value) for name, value in grafana["environment"].items()}
    for name, value in EXPECTED.items():
        assert environment.get(name) == value, f"{name} is not {value}"
    for name in environment:
        assert not any(word in name for word in ("PASSWORD", "ADMIN_USER", "SECRET", "TOKEN")), name
    assert "secrets" not in grafana, "it needs no secret"

    mounts = {}
    for volume in grafana["volumes"]:
        if isinstance(volume, str):
            source, target, mode = volume.rsplit(":", 2)
        else:
            source, target = volume["source"], volume["target"]
            mode = "ro" if volume.get("read_only") else "rw"
        assert mode == "ro", f"{source} is writable"
        mounts[target] = (ROOT / source).resolve()
    grafana_folder = ROOT / "deploy/grafana"
    assert mounts.get("/etc/grafana/provisioning") == grafana_folder / "provisioning", mounts

    (provider,) = provisioned("dashboards")["providers"]
    assert mounts.get(provider["options"]["path"]) == grafana_folder / "dashboards", mounts
    dashboards = [json.loads(path.read_text()) for path in (grafana_folder / "dashboards").iterdir()]
    assert len({dashboard["uid"] for dashboard in dashboards}) == 5, "five dashboards"

    (source,) = provisioned("datasources")["datasources"]
    assert source["type"] == "prometheus" and source["isDefault"], source
    assert source["url"] == "http://prometheus:9090", source["url"]
    shared = set(grafana["networks"]) & set(services["prometheus"]["networks"])
    assert shared, "Grafana cannot reach Prometheus"


try:
    check(yaml.safe_load(sys.stdin)["services"])
except AssertionError as error:
    sys.exit(f"grafana in docker-compose.yml: {error}")
