"""What lets a client keep an answer: a tag that changes with anything in it, and for how long nobody has to ask."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import orjson
from fastapi import Request, Response

from live_api.points.answer import Answer
from live_api.points.question import Question
from sinks.runs import Run

SETTLED_FOR_S = 300
"""How long an answer is kept in which nothing can change any more, but by a computation over the past or by somebody
being forgotten."""
_LEAST_COMPRESSED = 2_000
_OPEN = 0


def tag(asked: Question, found: Answer, version: str) -> str:
    """Of everything that the answer is made of, without making it: the same bytes have the same tag."""
    choice, filling = found.choice, found.filling
    said = [
        version,
        asked.metric,
        asked.keys,
        [asked.format, asked.shape, asked.compare, asked.limit],
        [choice.window.name, choice.step.name, choice.chosen, choice.why, choice.starts, found.then],
        [
            [filling.fill, filling.from_ms, filling.covers(start, end)]
            for start, end in zip(choice.starts, found.ends, strict=True)
            if filling.fill != "none"
        ],
        [filling.covers(start or 0, end) for start, end in zip(found.then or (), found.then_ends, strict=True)],
        found.series_total,
    ]
    if asked.own:
        said.append(asked.own)
    digest = blake2b(orjson.dumps(said), digest_size=16)
    for run in (*found.runs, *found.compared):
        digest.update(orjson.dumps(_columns(run)))
    return digest.hexdigest()


def tag_of(body: bytes, asked: Question) -> str:
    """Of an answer that is made already. Who sees some rows only has tags of their own, whatever is in them."""
    digest = blake2b(body, digest_size=16)
    if asked.own:
        digest.update(orjson.dumps(asked.own))
    return digest.hexdigest()


def response(request: Request, etag: str, body: Callable[[], bytes], *, kind: str, keep_s: int, name: str) -> Response:
    """The answer, 304 for a client that has it; compressed where it is large and the client can take it.

    `body` is called only when it is needed. `name` is what a file of it is called.
    """
    compressed = _takes_gzip(request.headers.get("accept-encoding", ""))
    headers = {
        "Cache-Control": f"private, max-age={keep_s}" if keep_s else "private, no-cache",
        "Vary": "Accept, Accept-Encoding",
    }
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    for form in (f'"{etag}"', f'"{etag}-gzip"'):
        if form in known or "*" in known:
            return Response(status_code=304, headers=headers | {"ETag": form})
    content = body()
    if kind != "application/json":
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if compressed and len(content) >= _LEAST_COMPRESSED:
        headers |= {"Content-Encoding": "gzip", "ETag": f'"{etag}-gzip"'}
        # What a faster level leaves out of the work is more than what it adds to the way.
        return Response(gzip.compress(content, 1, mtime=0), media_type=kind, headers=headers)
    return Response(content, media_type=kind, headers=headers | {"ETag": f'"{etag}"'})


def keep_s(asked: Question, found: Answer, lateness_ms: int) -> int:
    """How long a client may keep an answer without asking: not at all where a window may change, or is to come."""
    if asked.relative or asked.from_ms is None or asked.to_ms is None or found.watermark_ms is None:
        return 0
    is_settled = asked.to_ms + lateness_ms <= found.watermark_ms and found.choice.end_ms <= found.watermark_ms
    is_open = any(_OPEN in run.states for run in (*found.runs, *found.compared))
    return SETTLED_FOR_S if is_settled and not is_open else 0


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header names gzip, and not with the weight 0, which forbids it."""
    for part in accepted.split(","):
        kind, *options = (one.strip().lower() for one in part.split(";"))
        if kind == "gzip":
            weight = next((one[2:] for one in options if one.startswith("q=")), "1")
            return weight.strip("0.") != ""
    return False


def _columns(run: Run) -> list[Any]:
    return [run.dimensions, run.starts, run.values_json, run.states, run.counts, run.revisions, run.errors]
