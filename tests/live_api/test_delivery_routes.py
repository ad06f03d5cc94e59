from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sinks.deliveries import Deliveries, Delivery, Outcome
from tests.live_api.conftest import Api, Processor


def test_the_log_of_deliveries_is_told_the_newest_first(
    start: Callable[..., Api], processor: Processor, tmp_path: Path
) -> None:
    api = start().caught_up()
    log = Deliveries(f"sqlite:///{tmp_path}/points.db")
    log.write([Delivery("ops", f"n{number}", 1, number * 1_000, Outcome.DELIVERED, 200, 1.5) for number in range(3)])
    log.write([Delivery("chat", "n0", 2, 9_500, Outcome.FAILED, None, 10.0, "no answer within 10 s")])
    log.close()
    assert api.get("/v1/deliveries?limit=1")["deliveries"] == [
        {
            "endpoint": "chat",
            "notification": "n0",
            "attempt": 2,
            "at": "1970-01-01T00:00:09.500Z",
            "outcome": "failed",
            "status": None,
            "duration_ms": 10.0,
            "error": "no answer within 10 s",
        }
    ]
    found = api.get("/v1/deliveries?endpoint=ops")["deliveries"]
    assert [one["notification"] for one in found] == ["n2", "n1", "n0"]
    assert api.get("/v1/deliveries?endpoint=none")["deliveries"] == []
    for limit in ("0", "1001", "x"):
        assert api.get(f"/v1/deliveries?limit={limit}")["http"] == 422
