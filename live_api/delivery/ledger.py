"""What is known of one endpoint's deliveries, in Valkey beside the outbox: it outlives every process.

Beside stream `O`, for an endpoint `E`: consumer group `webhook:E` of `O`, and the keys `O:webhook:E:…`, of which
`lease` says who delivers, `tries` has attempts and times by entry, `finished` the ids that are done with, `latest` the
place of the last entry delivered of each group, `dead` the letters that were given up, and `state` whether it is
switched off, its circuit and its last outcome.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from valkey import exceptions
from valkey.asyncio import Valkey

from live_api.delivery.queue import Waiting, order_of
from sinks.alert_records import Notification
from sinks.outbox import FORCED, NOTIFICATION, ONLY, ORIGINAL, group_of_endpoint

logger = logging.getLogger(__name__)

CONSUMER = "deliver"
_PAGE = 200
REMEMBERED_MS = 7 * 86_400_000
REMEMBERED = 100_000
"""Ids that are done with: for so long, and so many."""
DEAD_LETTERS = 10_000
_LATEST_MS = 30 * 86_400_000
_A_MS = 1_000
"""Entries of one millisecond that are told apart."""

# Each begins by asking whether the lease is still ours: who was paused for longer than it lasts must change nothing.
# They write little, and what is delivered makes room: a server that is full lets them.
_ALLOWED = "#!lua flags=allow-oom\n"
_OURS = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
_ACQUIRE = (
    "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end\n"
    + _OURS
    + "redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1"
)
_RENEW = _OURS + "redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1"
_RELEASE = _OURS + "redis.call('DEL', KEYS[1]) return 1"
_SKIP = (
    _OURS + "for i = 3, #ARGV do redis.call('XACK', KEYS[2], ARGV[2], ARGV[i]) redis.call('HDEL', KEYS[3], ARGV[i]) end"
    " return 1"
)
_SET = _OURS + "for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end return 1"
_FINISH = (
    _OURS
    + """
redis.call('XACK', KEYS[2], ARGV[2], ARGV[3])
redis.call('HDEL', KEYS[3], ARGV[3])
local now = tonumber(ARGV[5])
redis.call('ZADD', KEYS[4], now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - tonumber(ARGV[6]))
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -(tonumber(ARGV[7]) + 1))
if ARGV[8] == 'delivered' then
  redis.call('ZADD', KEYS[5], 'GT', ARGV[10], ARGV[9])
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', ARGV[11])
else
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[12], '*', 'n', ARGV[13], 'of', ARGV[14], 'why', ARGV[15])
end
return 1
"""
)


class LeaseLost(Exception):
    """Another process delivers to this endpoint now."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An entry of the outbox that this endpoint has still to be told, or to pass over."""

    entry: str
    notification: Notification | None
    """None for an entry that is none, or is for another endpoint."""
    original: str | None = None
    forced: bool = False


@dataclass(frozen=True, slots=True)
class DeadNotification:
    """A notification that was given up."""

    letter: str
    """Its entry in the stream of dead letters."""
    notification: Notification
    original: str
    """Its entry in the outbox."""
    why: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How an endpoint is doing, for people."""

    running: bool
    """Whether some process delivers to it."""
    waiting: int
    dead: int
    disabled_ms: int | None
    why: str | None
    """It is switched off."""
    circuit_open_ms: int | None
    last: Mapping[str, Any] | None
    """The last attempt: `at_ms`, `outcome`, `status`, `error`."""


class Ledger:
    """The endpoint's part of the outbox, for whoever holds its lease, and for those who only look.

    *Guarantee*: what is finished is finished in one step: acknowledged, remembered and, if given up, kept as a dead
    letter. Nothing is changed by a process whose lease is over. *Failure*: valkey's errors; LeaseLost. *Cost*: one
    round trip a call.
    """

    def __init__(self, client: Valkey, outbox: str, endpoint: str, token: str) -> None:
        self._client = client
        self._outbox = outbox
        self._endpoint = endpoint
        self._group = group_of_endpoint(endpoint)
        self._token = token
        self._had_place = False
        base = f"{outbox}:webhook:{endpoint}"
        self._lease, self._tries, self._finished = f"{base}:lease", f"{base}:tries", f"{base}:finished"
        self._latest, self._dead, self._state = f"{base}:latest", f"{base}:dead", f"{base}:state"
        self._scripts = {
            text: client.register_script(_ALLOWED + text) for text in (_ACQUIRE, _RENEW, _RELEASE, _SKIP, _SET, _FINISH)
        }

    async def acquire(self, lease_ms: int) -> bool:
        """Become the one that delivers to it, unless somebody is. Makes its place in the outbox where it has none: at
        its end, or, where it was lost under our hands, at its beginning, as what is finished is known by its id."""
        taken = await self._scripts[_ACQUIRE](keys=[self._lease], args=[self._token, lease_ms])
        if taken:
            await make_group(self._client, self._outbox, self._endpoint, "0" if self._had_place else "$")
            self._had_place = True
        return bool(taken)

    async def renew(self, lease_ms: int) -> None:
        """Raises LeaseLost."""
        await self._run(_RENEW, [self._lease], lease_ms)

    async def release(self) -> None:
        await self._scripts[_RELEASE](keys=[self._lease], args=[self._token])

    async def backlog(self) -> AsyncIterator[list[Taken]]:
        """What was taken up before and not finished, in order, a page at a time."""
        last = "0"
        while True:
            page = await self._read(last, _PAGE)
            if not page:
                return
            last = page[-1].entry
            yield page

    async def fresh(self, most: int) -> list[Taken]:
        """What is new, in order; it is this endpoint's from now on."""
        return await self._read(">", min(most, _PAGE))

    async def _read(self, last: str, count: int) -> list[Taken]:
        answer: Any = await self._client.xreadgroup(self._group, CONSUMER, {self._outbox: last}, count=count)
        # A dict by stream in RESP3, a list of pairs before it.
        streams = list(answer.values()) if isinstance(answer, dict) else [entries for _, entries in answer or ()]
        return [self._taken(entry.decode(), fields or {}) for entries in streams for entry, fields in entries]

    def _taken(self, entry: str, fields: Mapping[bytes, bytes]) -> Taken:
        only = fields.get(ONLY)
        if only is not None and only.decode() != self._endpoint:
            return Taken(entry, None)
        try:
            notification = Notification.from_bytes(fields[NOTIFICATION])
        except (KeyError, ValueError):
            found = "no notification" if fields else "deleted"
            logger.error("webhook %s: entry %s of the outbox is %s and is passed over", self._endpoint, entry, found)
            return Taken(entry, None)
        original = fields.get(ORIGINAL)
        return Taken(entry, notification, None if original is None else original.decode(), FORCED in fields)

    async def finished(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids are done with."""
        if not ids:
            return set()
        scores: Any = await self._client.zmscore(self._finished, list(ids))
        return {own for own, score in zip(ids, scores, strict=True) if score is not None}

    async def tries(self, entries: Sequence[str]) -> dict[str, dict[str, int]]:
        """Attempts and times of these entries, of those that have any."""
        if not entries:
            return {}
        answer: Any = self._client.hmget(self._tries, list(entries))
        return {entry: orjson.loads(raw) for entry, raw in zip(entries, await answer, strict=True) if raw is not None}

    async def keep(self, waiting: Sequence[Waiting]) -> None:
        """Keep their attempts and times. Raises LeaseLost."""
        pairs: list[Any] = []
        for one in waiting:
            tries = {"attempts": one.attempts, "next_ms": one.next_ms, "first_ms": one.first_ms, "sent": one.sent}
            pairs += [one.entry, orjson.dumps(tries)]
        if pairs:
            await self._run(_SET, [self._lease, self._tries], *pairs)

    async def skip(self, entries: Sequence[str]) -> None:
        """Done with these, of which there was nothing to tell. Raises LeaseLost."""
        if entries:
            await self._run(_SKIP, [self._lease, self._outbox, self._tries], self._group, *entries)

    async def finish(self, waiting: Waiting, now_ms: int, *, dead: str | None = None) -> None:
        """It was delivered; or, with a reason, is given up. Raises LeaseLost."""
        keys = [self._lease, self._outbox, self._tries, self._finished, self._latest, self._dead]
        notification, original = waiting.notification, waiting.original or waiting.entry
        await self._run(
            _FINISH,
            keys,
            self._group,
            waiting.entry,
            notification.id,
            now_ms,
            REMEMBERED_MS,
            REMEMBERED,
            "delivered" if dead is None else "dead",
            notification.group,
            _place_of(original),
            _place_of(f"{max(0, now_ms - _LATEST_MS)}-0"),
            DEAD_LETTERS,
            b"" if dead is None else notification.to_bytes(),
            original,
            (dead or "")[:500],
        )

    async def overtaken(self, group: str, original: str) -> bool:
        """Whether something later of the group was delivered."""
        latest = await self._client.zscore(self._latest, group)
        return latest is not None and float(latest) > _place_of(original)

    async def state(self) -> dict[str, Any]:
        """`disabled_ms`, `why`, `circuit`, `last`; those that are kept."""
        answer: Any = self._client.hgetall(self._state)
        return {name.decode(): orjson.loads(value) for name, value in (await answer).items()}

    async def set_state(self, **values: Any) -> None:
        """Raises LeaseLost."""
        pairs: list[Any] = []
        for name, value in values.items():
            pairs += [name, orjson.dumps(value)]
        await self._run(_SET, [self._lease, self._state], *pairs)

    async def enable(self) -> bool:
        """Switch it on again, whoever delivers. Returns whether it was off."""
        answer: Any = self._client.hdel(self._state, "disabled_ms", "why")
        return bool(await answer)

    async def dead(self) -> AsyncIterator[DeadNotification]:
        """The dead letters in the order in which they were given up."""
        first = "-"
        while True:
            entries: Any = await self._client.xrange(self._dead, first, "+", _PAGE)
            if not entries:
                return
            for letter, fields in entries:
                try:
                    notification = Notification.from_bytes(fields[NOTIFICATION])
                    original, why = fields[ORIGINAL].decode(), fields[b"why"].decode()
                except (KeyError, ValueError):
                    continue
                yield DeadNotification(letter.decode(), notification, original, why)
            first = f"({entries[-1][0].decode()}"

    async def put_back(self, dead: DeadNotification, *, forced: bool) -> None:
        """Into the outbox again, for this endpoint alone; in one step, so that it is in one place at any time."""
        fields: dict[Any, Any] = {NOTIFICATION: dead.notification.to_bytes(), ONLY: self._endpoint}
        fields |= {ORIGINAL: dead.original} | ({FORCED: b"1"} if forced else {})
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.xadd(self._outbox, fields)
            pipe.xdel(self._dead, dead.letter)
            await pipe.execute()

    async def standing(self) -> Standing:
        state = await self.state()
        waiting = 0
        try:
            groups: Any = await self._client.xinfo_groups(self._outbox)
        except exceptions.ResponseError:
            groups = []
        for group in groups:
            if group["name"].decode() == self._group:
                waiting = int(group["pending"]) + int(group.get("lag") or 0)
        circuit = state.get("circuit") or {}
        return Standing(
            bool(await self._client.exists(self._lease)),
            waiting,
            int(await self._client.xlen(self._dead)),
            state.get("disabled_ms"),
            state.get("why"),
            circuit.get("opened_ms"),
            state.get("last"),
        )

    async def _run(self, script: str, keys: list[str], *arguments: Any) -> None:
        if not await self._scripts[script](keys=keys, args=[self._token, *arguments]):
            raise LeaseLost(f"webhook {self._endpoint}: another process delivers to it now")


def _place_of(entry: str) -> int:
    """Where an entry is in the outbox, as a score, which is exact up to 2^53: many are written in one millisecond."""
    time_ms, number = order_of(entry)
    return time_ms * _A_MS + min(number, _A_MS - 1)


async def make_group(client: Valkey, outbox: str, endpoint: str, place: str = "$") -> None:
    """An endpoint's place in the outbox, at its end, where it has none."""
    own = group_of_endpoint(endpoint)
    # Looked for first, as a server that is full refuses to make one that is there already.
    if any(group["name"].decode() == own for group in await groups_of(client, outbox)):
        return
    try:
        await client.xgroup_create(outbox, own, place, mkstream=True)
    except exceptions.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


async def groups_of(client: Valkey, outbox: str) -> list[dict[str, Any]]:
    """The consumer groups of the outbox; none where there is no outbox yet."""
    try:
        groups: Any = await client.xinfo_groups(outbox)
    except exceptions.ResponseError as error:
        if "no such key" not in str(error).lower():
            raise
        return []
    return list(groups)


async def drop_others(client: Valkey, outbox: str, endpoints: Sequence[str]) -> dict[str, int]:
    """Forget endpoints that are no longer in the catalog; those that were, with how much each was still to be told.

    Their dead letters go too.
    """
    kept = {group_of_endpoint(endpoint) for endpoint in endpoints}
    dropped = {}
    for group in await groups_of(client, outbox):
        name = group["name"].decode()
        if name in kept or not name.startswith(group_of_endpoint("")):
            continue
        endpoint = name.removeprefix(group_of_endpoint(""))
        await client.xgroup_destroy(outbox, name)
        base = f"{outbox}:webhook:{endpoint}"
        await client.delete(*(f"{base}:{key}" for key in ("lease", "tries", "finished", "latest", "dead", "state")))
        dropped[endpoint] = int(group["pending"]) + int(group.get("lag") or 0)
    return dropped


async def trim(client: Valkey, outbox: str) -> int:
    """Delete from the outbox what every endpoint is done with; how many entries. Nothing where there is no endpoint."""
    firsts = []
    for group in await groups_of(client, outbox):
        if group["pending"]:
            summary: Any = await client.xpending(outbox, group["name"])
            if summary["min"] is not None:
                firsts.append(order_of(summary["min"].decode()))
                continue
        time_ms, number = order_of(group["last-delivered-id"].decode())
        firsts.append((time_ms, number + 1))
    if not firsts:
        return 0
    time_ms, number = min(firsts)
    return int(await client.xtrim(outbox, minid=f"{time_ms}-{number}", approximate=False))
