#!/usr/bin/env python3
"""A token server for tests, as the Distribution registry specifies one ("Token Authentication").

    python3 tests/support/token-server/serve.py ADDRESS FOLDER ISSUER SERVICE USER:PASSWORD...

Signs with ES256, by way of openssl, and needs nothing beyond Python. Before it listens it writes its
public key to FOLDER/public.pem. A user may do everything; nobody in particular may pull what is below
public/. Answers

    GET  /token  service, scope (repeated or joined by spaces), account, offline_token; Basic or nobody
    POST /token  grant_type=password or refresh_token, service, scope, username, password, access_type

Never for production: it keeps refresh tokens in memory and compares passwords as they are.
"""
import base64
import http.server
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.parse

LIFETIME_SECONDS = 300


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_signature(der):
    """The two numbers of an ECDSA signature, 32 bytes each: DER is what openssl has, JWS not."""
    numbers, at = [], 2
    for _ in range(2):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2 : at + 2 + length], "big"))
        at += 2 + length
    return b"".join(number.to_bytes(32, "big") for number in numbers)


class Issuer:
    def __init__(self, folder, issuer, service, users):
        self.issuer, self.service = issuer, service
        self.users = dict(user.split(":", 1) for user in users)
        self.refresh = {}
        self.key = os.path.join(folder, "private.pem")
        public = os.path.join(folder, "public.pem")
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-out", self.key], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", self.key, "-pubout", "-out", public], check=True)

    def allowed(self, user, kind, name, actions):
        if kind == "registry":
            return ["*"] if user else []
        if user:
            return actions
        return [action for action in actions if action == "pull" and name.startswith("public/")]

    def access(self, user, scopes):
        entries = []
        for scope in scopes:
            # A name may have a port in it: the type ends at the first colon, the actions begin at
            # the last.
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind and name:
                granted = self.allowed(user, kind.split("(")[0], name, actions.split(","))
                # What was asked for and not granted is no entry: that is no error either.
                if granted:
                    entries.append({"type": kind, "name": name, "actions": granted})
        return entries

    def token(self, user, scopes):
        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256"}
        claims = {"iss": self.issuer, "sub": user or "", "aud": self.service, "iat": now, "nbf": now,
                  "exp": now + LIFETIME_SECONDS, "jti": secrets.token_hex(8),
                  "access": self.access(user, scopes)}
        message = ".".join(b64(json.dumps(part).encode()) for part in (header, claims))
        der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], check=True,
                             input=message.encode(), capture_output=True).stdout
        return now, f"{message}.{b64(raw_signature(der))}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        query = urllib.parse.parse_qs(url.query)
        user = self.basic()
        if url.path != "/token" or user is False:
            return self.answer(404 if url.path != "/token" else 401, {"details": "no"})
        offline = query.get("offline_token") == ["true"]
        self.grant(user, query.get("scope", []), offline, query.get("service", []))

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        one = lambda key: form.get(key, [""])[0]
        if one("grant_type") == "password":
            user = self.user(one("username"), one("password"))
        elif one("grant_type") == "refresh_token":
            user = self.server.issuer.refresh.get((one("refresh_token"), one("service")), False)
        else:
            return self.answer(400, {"error": "unsupported_grant_type"})
        if user is False:
            return self.answer(401, {"error": "invalid_grant"})
        self.grant(user, form.get("scope", []), one("access_type") == "offline", form.get("service", []))

    def basic(self):
        header = self.headers.get("Authorization")
        if not header:
            return None
        try:
            name, _, password = base64.b64decode(header.split(" ", 1)[1]).decode().partition(":")
        except (IndexError, ValueError):
            return False
        return None if not name and not password else self.user(name, password)

    def user(self, name, password):
        known = self.server.issuer.users.get(name)
        return name if known is not None and secrets.compare_digest(known.encode(), password.encode()) else False

    def grant(self, user, scopes, offline, services):
        issuer = self.server.issuer
        if services and services != [issuer.service]:
            return self.answer(400, {"details": "another service"})
        scopes = [scope for joined in scopes for scope in joined.split()]
        now, token = issuer.token(user, scopes)
        body = {"token": token, "access_token": token, "expires_in": LIFETIME_SECONDS,
                "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
                "scope": " ".join(scopes)}
        if offline and user:
            body["refresh_token"] = secrets.token_urlsafe(24)
            issuer.refresh[body["refresh_token"], issuer.service] = user
        self.answer(200, body)

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main():
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    address, folder, issuer, service, *users = sys.argv[1:]
    host, _, port = address.rpartition(":")
    # The key is written before the port is bound: callers wait for the port.
    issued_by = Issuer(folder, issuer, service, users)
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    server.issuer = issued_by
    print(f"listening on {address}", flush=True)
    server.serve_forever()


main()
