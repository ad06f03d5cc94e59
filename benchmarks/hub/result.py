"""What the benchmark says: its keys, what each of them is, and what it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """The keys of `benchmarks/results/hub.json`.

    Clients run in processes of their own on loopback. The three ratios are of frames for a second of the server's
    processor time, each the median over the rounds; a ratio is of two turns of the same round.
    """

    frames_per_s_core: float
    """Frames of 300 bytes that 500 clients received, saturated, for each second of processor time of the server."""
    vs_send_text: float
    """Ours over a Starlette loop of `send_text` under the same uvicorn."""
    vs_socketio: float | None
    """Ours over python-socketio (ASGI). None where it cannot be had; the table says why."""
    vs_channels: float | None
    """Ours over Django Channels with the in-memory layer. None where it cannot be had; the table says why."""
    p99_ms_2000x10hz: float
    """From writing to the live stream to having read the frame, milliseconds: 2,000 clients, 10 updates a second."""
    core_share: float
    """Processor time of `streamgauge serve` meanwhile, as a share of one core."""
    stalled_effect: float
    """That p99 of 500 healthy clients with 25 stalled ones beside them over without: the median over the rounds."""
    stalled_evicted_s: float
    """The longest time from when a client stops reading to when the server has let go of its connection, seconds."""
    kb_per_client: float
    """Growth of the resident memory of `streamgauge serve` from 1,000 to 3,000 idle clients, KiB for each."""
    resume_complete: float
    """Of 1,000 reconnects under load, the share after which the client's state was exactly that of a new snapshot."""
    age_p99_ms: float
    """From the XADD of an event to the number painted in Chromium, milliseconds: `up --demo`, 100 events a second."""


TARGETS = {
    "frames_per_s_core": ("≥", 150_000.0),
    "vs_send_text": ("≥", 1.5),
    "vs_socketio": ("≥", 3.0),
    "vs_channels": ("≥", 3.0),
    "p99_ms_2000x10hz": ("≤", 30.0),
    "core_share": ("≤", 0.25),
    "stalled_effect": ("≤", 1.1),
    "stalled_evicted_s": ("≤", 11.0),
    "kb_per_client": ("≤", 30.0),
    "resume_complete": ("≥", 1.0),
    "age_p99_ms": ("≤", 250.0),
}
