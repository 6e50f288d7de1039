"""A token server, and tokens of it."""

import base64
import json
import os
import sys
import urllib.request

from processes import OTHER_CORE

SERVE = os.path.join(os.path.dirname(__file__), "../../support/token-server/serve.py")
USER, PASSWORD = "load", "load-password"


class Tokens:
    def __init__(self, servers):
        self.servers = servers
        folder = os.path.join(servers.folder, "tokens")
        os.makedirs(folder)
        command = [sys.executable, SERVE, "127.0.0.1:PORT", folder, "load-issuer", "load"]
        self.server = servers.start("tokens", [*command, f"{USER}:{PASSWORD}"], OTHER_CORE, None)
        self.settings = {
            "ACCESS_TOKEN_REALM": f"http://{self.server.address}/token",
            "ACCESS_TOKEN_SERVICE": "load",
            "ACCESS_TOKEN_ISSUER": "load-issuer",
            "ACCESS_TOKEN_KEYS_FILE": os.path.join(folder, "public.pem"),
        }

    def option(self, path):
        """The option that makes the client show a token to pull what the path names."""
        name = path.removeprefix("/v2/").split("/manifests/")[0]
        url = f"{self.settings['ACCESS_TOKEN_REALM']}?service=load&scope=repository:{name}:pull"
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        asked = urllib.request.Request(url, headers={"authorization": f"Basic {basic}"})
        with urllib.request.urlopen(asked) as answer:
            token = json.load(answer)["token"]
        return "--token", token

    def stop(self):
        self.servers.stop(self.server)
