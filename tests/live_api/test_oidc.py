from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from live_api.access import login_routes
from live_api.access.entrance import Access
from live_api.access.identity import NOBODY
from live_api.access.oidc import Oidc, Unverified, identity_from, verified
from live_api.access.permissions import PERMISSIONS, Role
from tests.servers import ValkeyServer

from .conftest import Api
from .provider import CLIENT, SECRET, Provider

ISSUER = "https://login.example"
OIDC = Oidc(ISSUER, CLIENT)
CLAIMS = {"iss": ISSUER, "aud": CLIENT, "exp": 2_000, "sub": "ada"}


def pseudonym(raw: str) -> str:
    return hashlib.sha256(b"key" + raw.encode()).hexdigest()[:32]


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS: dict[str, Any] = {"RS256": RSA, "PS256": RSA, "ES256": ec.generate_private_key(ec.SECP256R1())}
KEYS["EdDSA"] = ed25519.Ed25519PrivateKey.generate()
_SHOWN: dict[str, Any] = {"RS256": jwt.algorithms.RSAAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}
_SHOWN["EdDSA"] = jwt.algorithms.OKPAlgorithm


def jwk(algorithm: str, kid: str = "k", **more: str) -> dict[str, Any]:
    algorithm = "RS256" if algorithm == "PS256" else algorithm
    return {**json.loads(_SHOWN[algorithm].to_jwk(KEYS[algorithm].public_key())), "kid": kid, **more}


def token(algorithm: str = "RS256", kid: str = "k", **claims: Any) -> str:
    told = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode(told, KEYS[algorithm], algorithm, headers={"kid": kid})


def read(text: str, keys: list[Any] | None = None, now_s: float = 1_000) -> dict[str, Any]:
    return verified(text, [jwk("RS256")] if keys is None else keys, OIDC, audience=CLIENT, now_s=now_s)


# What a token says.


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_token_is_believed_by_any_of_the_four_signatures(algorithm: str) -> None:
    assert read(token(algorithm), [jwk(algorithm)])["sub"] == "ada"


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://other.example"}, "issuer"),
        ({"aud": "another"}, "udience"),
        ({"aud": None}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": 969}, "expired"),
        ({"exp": "soon"}, "exp"),
        ({"nbf": 1_031}, "not valid yet"),
        ({"sub": None}, "sub"),
    ],
)
def test_a_token_of_others_or_of_another_time_is_not(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(Unverified, match=why):
        read(token(**claims))


def test_clocks_may_be_half_a_minute_apart() -> None:
    assert read(token(exp=971, nbf=1_030))
    assert read(token(aud=["other", CLIENT]))


def _made(head: dict[str, Any], secret: bytes | None) -> str:
    def part(told: Any) -> bytes:
        return urlsafe_b64encode(told if isinstance(told, bytes) else json.dumps(told).encode()).rstrip(b"=")

    text = part(head) + b"." + part(CLAIMS)
    signed = b"" if secret is None else hmac.new(secret, text, hashlib.sha256).digest()
    return (text + b"." + part(signed)).decode()


def test_no_token_is_believed_without_a_private_key() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for forged in (_made({"alg": "none"}, None), _made({"alg": "HS256", "kid": "k"}, public)):
        with pytest.raises(Unverified, match="signed with RS256"):
            read(forged)
    good = token()
    head, body, signature = good.split(".")
    for broken in ("", "a.b.c", good[:-8] + "AAAAAAAA", f"{head}.{body}.", f"{head}.{body[:-4]}AAAA.{signature}"):
        with pytest.raises(Unverified):
            read(broken)


def test_a_key_is_used_for_what_it_is() -> None:
    for keys in ([], [jwk("RS256", "other")], [jwk("RS256", use="enc")], [jwk("RS256", alg="PS256")], [jwk("ES256")]):
        with pytest.raises(LookupError):
            read(token(), keys)
    with pytest.raises(Unverified):
        read(token(), [{"kty": "RSA", "kid": "k", "n": "AQAB", "e": "x"}])


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({}, []),
        ({"realm": {"roles": ["viewer", "nothing"]}}, [Role.VIEWER]),
        ({"realm": {"roles": "sre"}}, [Role.OPERATOR]),
        ({"realm.roles": ["data", "sre"]}, [Role.ANALYST, Role.OPERATOR]),
        ({"realm": ["viewer"]}, []),
        ({"realm": {"roles": [["admin"], {"admin": 1}, None]}}, []),
    ],
)
def test_roles_are_where_the_claim_leads(claims: dict[str, Any], roles: list[Role]) -> None:
    oidc = Oidc(ISSUER, roles_claim="realm.roles", roles={"sre": Role.OPERATOR, "data": Role.ANALYST})
    found = identity_from(CLAIMS | claims, oidc)
    assert found.permissions == frozenset().union(*(PERMISSIONS[role] for role in roles))
    assert (found.name, found.until_ms) == ("user:ada", 2_000_000)


def test_who_has_no_claim_for_rows_sees_no_row() -> None:
    oidc = Oidc(ISSUER, rows={"community": "communities"}, person_claim="events.id")
    told = identity_from(CLAIMS | {"communities": ["north"], "events": {"id": 4711}}, oidc)
    assert told.rows.show((("community", "north"),))
    assert not told.rows.show((("community", "south"),))
    assert told.person == "4711"
    for claims in ({}, {"communities": None}, {"communities": {}}):
        nothing = identity_from(CLAIMS | claims, oidc)
        assert nothing.rows.limited
        assert not nothing.rows.show((("community", "north"),))
        assert nothing.person is None


# With a provider.


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.stop()


@pytest.fixture
def api(provider: Provider, valkey_server: ValkeyServer, tmp_path: Path) -> Iterator[Api]:
    provider.claims = {"sub": "ada", "roles": ["viewer"]}
    provider.nonce = None
    access = Access(NOBODY, Oidc(provider.url, CLIENT, SECRET, person_claim="user"))
    made = Api(valkey_server.connection_url, f"sqlite:///{tmp_path}/x.db", access=access, pseudonym=pseudonym)
    yield made
    made.stop()


def ask(url: str, method: str = "GET", cookies: dict[str, str] | None = None, **headers: str) -> Any:
    sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())} if cookies else {}
    return urllib3.request(method, url, headers={**sent, **headers}, redirect=False, retries=False, timeout=20)


def cookies(answer: Any) -> dict[str, str]:
    pairs = (line.partition(";")[0].partition("=") for line in answer.headers.getlist("set-cookie"))
    return {name: value.strip('"') for name, _, value in pairs}


def login(api: Api, to: str = "/board/x") -> Any:
    """All the way there and back; the last answer."""
    begun = ask(f"{api.url}/auth/login?to={to}")
    assert begun.status == 303, begun.data
    there = ask(begun.headers["location"])
    return ask(there.headers["location"], cookies=cookies(begun))


def test_a_bearer_token_says_who_asks(api: Api, provider: Provider) -> None:
    def status(text: str, path: str = "/v1/metrics") -> int:
        return int(api.request(path, {"Authorization": f"Bearer {text}"}).status)

    assert status(provider.token()) == 200
    assert status(provider.token(), "/v1/people") == 403
    assert status(provider.token(roles=[])) == 403
    assert (
        b"has no role here" in api.request("/v1/metrics", {"Authorization": f"Bearer {provider.token(roles=[])}"}).data
    )
    assert status(provider.token(aud="another")) == 401
    assert status("x") == 401
    assert api.request("/v1/metrics").status == 401


def test_new_keys_of_the_issuer_are_found_once_a_minute(api: Api, provider: Provider) -> None:
    def status(text: str) -> int:
        return int(api.request("/v1/metrics", {"Authorization": f"Bearer {text}"}).status)

    former = provider.token()
    assert status(former) == 200
    asked = provider.asked_for_keys
    provider.rotate("second")
    # Asked a moment ago, which was for the key that there was.
    assert status(provider.token()) == 401
    assert provider.asked_for_keys == asked
    assert status(former) == 200


def test_a_browser_logs_in_and_out(api: Api, provider: Provider) -> None:
    provider.claims |= {"user": "ada@example.org"}
    back = login(api, "/board/x%3Fkiosk%3D1")
    assert (back.status, back.headers["location"]) == (303, "/board/x?kiosk=1"), back.data
    [shown] = [line for line in back.headers.getlist("set-cookie") if line.startswith("streamgauge=")]
    assert "HttpOnly" in shown
    assert "SameSite=strict" in shown
    mine = {"streamgauge": cookies(back)["streamgauge"]}
    told = json.loads(ask(f"{api.url}/v1/session", cookies=mine).data)
    assert told["name"] == "user:ada"
    assert told["login"] == {"key": True, "oidc": True}
    assert ask(f"{api.url}/v1/metrics", cookies=mine).status == 200
    own = {"Origin": api.url}
    assert ask(f"{api.url}/v1/tickets", "POST", mine, **own).status == 200
    for origin in ({}, {"Origin": "https://evil.example"}):
        assert ask(f"{api.url}/v1/tickets", "POST", mine, **origin).status == 403
    assert ask(f"{api.url}/auth/logout", "POST", mine, Origin="https://evil.example").status == 403
    assert ask(f"{api.url}/v1/metrics", cookies=mine).status == 200
    assert ask(f"{api.url}/auth/logout", "POST", mine, **own).status == 204
    assert ask(f"{api.url}/v1/metrics", cookies=mine).status == 401
    assert json.loads(ask(f"{api.url}/v1/session", cookies=mine).data)["name"] == "anonymous"


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example", "board", "", "/%0d%0ax:y"])
def test_nobody_is_sent_elsewhere(api: Api, to: str) -> None:
    back = login(api, to)
    assert (back.status, back.headers["location"]) == (303, "/")


def test_a_login_is_of_the_browser_that_began_it_and_taken_once(api: Api, provider: Provider) -> None:
    begun = ask(f"{api.url}/auth/login")
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    assert asked["redirect_uri"] == [f"{api.url}/auth/callback"]
    there = ask(begun.headers["location"]).headers["location"]
    assert ask(there).status == 401, "another browser"
    assert ask(there, cookies=cookies(begun)).status == 401, "after it was tried"
    assert login(api).status == 303
    assert ask(f"{api.url}/auth/callback?code=x&state=y", cookies=cookies(begun)).status == 401


def test_an_answer_to_another_login_lets_nobody_in(api: Api, provider: Provider) -> None:
    provider.nonce = "another"
    answer = login(api)
    assert answer.status == 401
    assert "streamgauge" not in cookies(answer)


def test_who_has_no_role_is_told_so(api: Api, provider: Provider) -> None:
    provider.claims = {"sub": "eve", "roles": ["janitor"]}
    answer = login(api)
    assert answer.status == 403
    assert "user:eve has no role here" in json.loads(answer.data)["detail"]


def test_an_issuer_that_is_away_makes_nobody_a_stranger(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    access = Access(NOBODY, Oidc("http://127.0.0.1:1", CLIENT))
    api = Api(valkey_server.connection_url, f"sqlite:///{tmp_path}/x.db", access=access)
    try:
        answer = api.request("/v1/metrics", {"Authorization": f"Bearer {token()}"})
        assert answer.status == 503
        assert ask(f"{api.url}/auth/login").status == 503
        # What everybody may ask is answered all the same.
        assert api.request("/healthz", {"Authorization": f"Bearer {token()}"}).status == 200
    finally:
        api.stop()


def test_strangers_cannot_fill_the_server_with_logins(
    provider: Provider, valkey_server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_routes, "_LOGINS_A_SECOND", 0.4)
    access = Access(NOBODY, Oidc(provider.url, CLIENT, SECRET))
    api = Api(valkey_server.connection_url, f"sqlite:///{tmp_path}/x.db", access=access)
    try:
        assert [ask(f"{api.url}/auth/login").status for _ in range(3)] == [303, 303, 503]
    finally:
        api.stop()


def test_without_an_issuer_there_are_no_logins(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    api = Api(valkey_server.connection_url, f"sqlite:///{tmp_path}/x.db")
    try:
        assert ask(f"{api.url}/auth/login").status == 404
        assert api.get("/v1/session")["login"] == {"key": True, "oidc": False}
    finally:
        api.stop()


def test_tokens_are_in_their_time(provider: Provider, api: Api) -> None:
    late = provider.token(exp=int(time.time()) - 60)
    answer = api.request("/v1/metrics", {"Authorization": f"Bearer {late}"})
    assert answer.status == 401
    assert b"expired" in answer.data
