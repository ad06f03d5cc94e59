from __future__ import annotations

from live_api.delivery.circuit import Circuit


def test_it_opens_after_failures_in_a_row_and_lets_ever_rarer_probes_through() -> None:
    circuit = Circuit(threshold=3, first_ms=100, longest_ms=300)
    assert [circuit.failed(at) for at in (0, 1)] == [False, False]
    circuit.succeeded()
    assert [circuit.failed(at) for at in (2, 3, 4)] == [False, False, True]
    assert circuit.opened_ms == 4
    assert circuit.room(103, 0, 8) == 0
    assert circuit.room(104, 0, 8) == 1
    assert circuit.room(104, 1, 8) == 0
    now_ms, waits = 104, []
    for _ in range(4):
        assert not circuit.failed(now_ms)
        waits.append(circuit.probe_ms - now_ms)
        now_ms = circuit.probe_ms
    assert waits == [200, 300, 300, 300]
    assert circuit.succeeded()
    assert circuit.room(now_ms, 3, 8) == 5
    assert not circuit.succeeded()


def test_attempts_that_were_under_way_when_it_opened_put_no_probe_off() -> None:
    circuit = Circuit(threshold=5, first_ms=10_000, longest_ms=300_000)
    assert [circuit.failed(1_000) for _ in range(64)].count(True) == 1
    assert circuit.probe_ms == 11_000
    assert not circuit.failed(11_000)
    assert circuit.probe_ms == 31_000


def test_a_restart_does_not_forget_it() -> None:
    circuit = Circuit(threshold=1)
    circuit.failed(1_000)
    again = Circuit(threshold=1)
    again.restore(circuit.to_state())
    assert again == circuit
    assert again.room(1_001, 0, 4) == 0
