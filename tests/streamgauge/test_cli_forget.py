from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest
import valkey

from sinks.alert_records import COMMANDS_STREAM
from sinks.audit_store import Action, AuditStore
from sinks.erasure import ERASURE_FIELD, Erasure
from sinks.live_scores import LiveScores
from sinks.person_records import PersonLine
from sinks.person_store import PersonStore
from sinks.score_store import ScoreStore
from stream.enrich import Pseudonyms
from streamgauge.settings import EXIT_CONFIGURATION
from tests.scores import BOB, score
from tests.servers import ValkeyServer

from .conftest import Command

KEY = "the key of these tests"
ANN = "ann@example.org"
PSEUDONYM = Pseudonyms(KEY.encode()).of(ANN)


@pytest.fixture
def settings(valkey_server: ValkeyServer, valkey_client: valkey.Valkey, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "state" / "shop").mkdir(parents=True)
    return {"VALKEY_URL": valkey_server.connection_url, "STREAMGAUGE_PERSON_KEY": KEY}


def test_without_a_processor_the_word_waits_and_what_can_be_is_deleted(
    verb: Command, settings: dict[str, str], catalog_path: Path, valkey_client: valkey.Valkey
) -> None:
    valkey_client.xadd("events:{0}", {"data": json.dumps({"user": ANN, "kind": "book"})})
    done = verb("forget", ANN, "-c", catalog_path, "--wait", "0", **settings)
    assert done.returncode == 1
    assert "no processor has answered within 0 s" in done.stderr
    assert "events:{0}: 0 deleted; 1 left that the processor has not counted yet" in done.stderr
    assert ANN not in done.stdout + done.stderr
    [(_, fields)] = valkey_client.xrange(COMMANDS_STREAM)
    erasure = Erasure.from_bytes(fields[ERASURE_FIELD])
    assert (erasure.person, erasure.platform) == (PSEUDONYM, "Shop")
    assert ANN.encode() not in fields[ERASURE_FIELD]
    valkey_client.delete("events:{0}")
    audit = AuditStore(f"sqlite:///{catalog_path.parent}/state/shop/points.db")
    [entry] = audit.read()
    audit.close()
    assert (entry.who, entry.action, entry.subject) == (f"cli:{getpass.getuser()}", Action.ERASED, PSEUDONYM)
    # The log stays, and is not taken for something that was left.
    looked = verb("forget", "--verify", ANN, "-c", catalog_path, **settings)
    assert (looked.returncode, "store, audit" in looked.stdout) == (0, True), looked.stdout


def test_the_id_may_come_by_standard_input(verb: Command, settings: dict[str, str], catalog_path: Path) -> None:
    # Nothing is on the standard input of a test.
    done = verb("forget", "-", "-c", catalog_path, "--wait", "0", **settings)
    assert done.returncode == 2
    assert "expected the id of a person" in done.stderr


def test_verify_says_of_each_place_what_was_found(
    verb: Command, settings: dict[str, str], catalog_path: Path, valkey_client: valkey.Valkey, tmp_path: Path
) -> None:
    done = verb("forget", "--verify", ANN, "-c", catalog_path, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("nothing is left of them\n")

    valkey_client.xadd("events:{1}", {"data": json.dumps({"user": ANN, "kind": "book"})})
    valkey_client.xadd("streamgauge:outbox:shop", {"n": json.dumps({"why": f"of {ANN}"})})
    valkey_client.hset("streamgauge:any", "x", PSEUDONYM)
    valkey_client.xadd(COMMANDS_STREAM, {ERASURE_FIELD: Erasure(PSEUDONYM, "Shop", 1).to_bytes()})
    store = PersonStore(f"sqlite:///{tmp_path / 'state' / 'shop' / 'points.db'}")
    store.write([(PersonLine(PSEUDONYM, "session", 1, 1, {}), False)])
    store.close()
    (tmp_path / "state" / "shop" / "people").mkdir()
    (tmp_path / "state" / "shop" / "people" / "0.ab-1.new").write_bytes(b"half")
    done = verb("forget", "--verify", ANN, "-c", catalog_path, **settings)
    assert done.returncode == 1
    rows = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    found = {place for place, line in rows.items() if "  found " in line}
    assert found == {
        "events:{1}",
        "streamgauge:outbox:shop",
        "streamgauge:any",
        "store, person_lines",
        "store, points.db",
        "state, people",
    }
    assert rows[COMMANDS_STREAM].endswith("nothing (1 to forget them)")
    assert ANN not in done.stdout


def test_a_score_is_found_in_both_places_and_goes_from_both(
    verb: Command, settings: dict[str, str], catalog_path: Path, valkey_client: valkey.Valkey, tmp_path: Path
) -> None:
    store = ScoreStore(f"sqlite:///{tmp_path / 'state' / 'shop' / 'points.db'}")
    store.setup()
    live = LiveScores(valkey_client, "streamgauge:scores:shop")
    for told in ([score(PSEUDONYM)], [score(BOB)]):
        store.write(told)
        live.write(told)

    def found() -> dict[str, str]:
        lines = verb("forget", "--verify", ANN, "-c", catalog_path, **settings).stdout.splitlines()
        return {line.split("  ")[0]: line for line in lines if "  found " in line}

    assert set(found()) >= {"store, churn_scores", "streamgauge:scores:shop"}
    assert "2 items" in found()["streamgauge:scores:shop"]
    done = verb("forget", ANN, "-c", catalog_path, "--wait", "0", **settings)
    assert done.returncode == 1, "no processor has let go of what it knows"
    assert set(found()) <= {"store, points.db", "store, points.db-wal"}, (
        "deleted bytes stay until the file is written anew"
    )
    assert store.of(PSEUDONYM) is None
    assert store.of(BOB) is not None
    assert valkey_client.hkeys("streamgauge:scores:shop") == [BOB.encode()]
    store.close()


def test_what_is_not_there_is_named(verb: Command, settings: dict[str, str], catalog_path: Path) -> None:
    done = verb("forget", ANN, "-c", catalog_path, VALKEY_URL=settings["VALKEY_URL"])
    assert done.returncode == EXIT_CONFIGURATION
    assert "no key of pseudonyms" in done.stderr
    catalog_path.write_text('[[metric]]\nname = "n"\nmeasure = "count"\n')
    done = verb("forget", ANN, "-c", catalog_path, **settings)
    assert done.returncode == EXIT_CONFIGURATION
    assert "names no person" in done.stderr
