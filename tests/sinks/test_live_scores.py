from __future__ import annotations

import orjson
import pytest
import valkey

from sinks.errors import Misconfigured, Retryable
from sinks.live_scores import LiveScores
from tests.scores import ADA, AS_OF_MS, BOB, score

KEY = "streamgauge:scores:shop"


def test_a_service_finds_a_persons_score_in_the_hash(valkey_client: valkey.Valkey) -> None:
    scores = LiveScores(valkey_client, KEY)
    assert scores.write([score(probability=0.87654321), score(BOB, 0.2)]) == 0
    raw = valkey_client.hget(KEY, ADA)
    assert isinstance(raw, bytes)
    assert orjson.loads(raw) == {
        "p": 0.8765,
        "level": "high",
        "as_of": AS_OF_MS,
        "proven": True,
        "segment": "often, of late",
        "factors": ["days_since_last", "posts"],
        "version": 3,
    }
    scores.write([score(BOB, 0.6, 1)])
    raw = valkey_client.hget(KEY, BOB)
    assert isinstance(raw, bytes)
    assert orjson.loads(raw)["level"] == "medium"
    scores.drop([ADA, "00" * 16])
    assert valkey_client.hkeys(KEY) == [BOB.encode()]


def test_a_crowd_goes_in_pipelines(valkey_client: valkey.Valkey) -> None:
    scores = LiveScores(valkey_client, KEY)
    crowd = [f"{n:032x}" for n in range(11_111)]
    scores.write([score(person) for person in crowd])
    assert valkey_client.hlen(KEY) == len(crowd)
    scores.drop(crowd[1:])
    assert valkey_client.hkeys(KEY) == [crowd[0].encode()]
    scores.write([])
    scores.drop([])


def test_a_full_server_does_not_stop_the_processor_and_lets_go_of_people_all_the_same(
    valkey_client: valkey.Valkey,
) -> None:
    scores = LiveScores(valkey_client, KEY)
    scores.write([score(), score(BOB)])
    valkey_client.config_set("maxmemory", 1)
    valkey_client.config_set("maxmemory-policy", "noeviction")
    try:
        assert scores.write([score(f"{n:032x}") for n in range(700)]) == 700
        scores.drop([ADA])
    finally:
        valkey_client.config_set("maxmemory", 0)
    assert valkey_client.hkeys(KEY) == [BOB.encode()]


def test_a_key_of_another_kind_is_for_a_person_to_put_right_and_nobody_is_quoted(valkey_client: valkey.Valkey) -> None:
    valkey_client.set(KEY, "x")
    for ask in (
        lambda: LiveScores(valkey_client, KEY).write([score()]),
        lambda: LiveScores(valkey_client, KEY).drop([ADA]),
    ):
        with pytest.raises(Misconfigured, match="scores streamgauge:scores:shop: WRONGTYPE") as error:
            ask()
        assert ADA not in str(error.value)


def test_a_server_that_is_away_is_tried_again() -> None:
    away = valkey.Valkey(port=1, socket_connect_timeout=0.2)
    with pytest.raises(Retryable, match="scores"):
        LiveScores(away, KEY).write([score()])
    with pytest.raises(Retryable, match="scores"):
        LiveScores(away, KEY).drop([ADA])
    away.close()
