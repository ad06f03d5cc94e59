"""A small OpenID provider: discovery, keys, the code flow with PKCE; its users log in at once."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qs, urlencode

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.ports import free_port
from tests.stack import eventually

CLIENT, SECRET = "streamgauge", "a secret: of 100%"


class Provider:
    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/realms/ops"
        self.claims: dict[str, Any] = {"sub": "ada", "roles": ["viewer"]}
        """What tokens say of whoever logs in next."""
        self.asked_for_keys = 0
        self.nonce: str | None = None
        """Says another than was asked for."""
        self._codes: dict[str, dict[str, str]] = {}
        self.rotate("first")
        app = Starlette(
            routes=[
                Route("/realms/ops/.well-known/openid-configuration", self._discovery),
                Route("/realms/ops/keys", self._keys),
                Route("/realms/ops/auth", self._auth),
                Route("/realms/ops/token", self._token, methods=["POST"]),
            ]
        )
        self._server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_config=None))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        eventually(lambda: self._server.started, what="the provider")

    def rotate(self, kid: str) -> None:
        """From now on tokens are signed with a new key, and the old one is not shown any more."""
        self.kid, self.key = kid, rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, **claims: Any) -> str:
        now_s = int(time.time())
        told = {"iss": self.url, "aud": CLIENT, "exp": now_s + 300, "iat": now_s} | self.claims | claims
        return jwt.encode(told, self.key, "RS256", headers={"kid": self.kid})

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    async def _discovery(self, _: Request) -> Response:
        places = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "keys"}
        return JSONResponse({"issuer": self.url} | {name: f"{self.url}/{path}" for name, path in places.items()})

    async def _keys(self, _: Request) -> Response:
        self.asked_for_keys += 1
        shown = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return JSONResponse({"keys": [shown | {"kid": self.kid, "use": "sig"}]})

    async def _auth(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self._codes)}"
        self._codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 302)

    async def _token(self, request: Request) -> Response:
        kind, _, pair = request.headers["authorization"].partition(" ")
        assert (kind, b64decode(pair).decode()) == ("Basic", f"{CLIENT}:a%20secret%3A%20of%20100%25")
        told = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self._codes.pop(told["code"], None)
        challenge = urlsafe_b64encode(hashlib.sha256(told["code_verifier"].encode()).digest()).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != told["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"id_token": self.token(nonce=self.nonce or asked["nonce"]), "token_type": "Bearer"})
