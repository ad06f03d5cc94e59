"""Telling endpoints of alerts: one courier for each, which keeps order, retries, and gives up in the end.

What is to be told and how far it is are in the ledger; when to try again, which to take, and whether to try at all are
decided by pure parts (`retries`, `queue`, `circuit`). Here they meet the clock and the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from valkey import exceptions

from live_api.delivery.attempts import Attempt, send
from live_api.delivery.bodies import bodies
from live_api.delivery.circuit import FAILURES, FIRST_PROBE_MS, LONGEST_PROBE_MS, Circuit
from live_api.delivery.egress import Egress
from live_api.delivery.endpoints import Endpoint
from live_api.delivery.ledger import LeaseLost, Ledger, Taken
from live_api.delivery.meters import DeliveryMeters
from live_api.delivery.queue import Queue, Waiting
from live_api.delivery.retries import LONGEST_RETRY_AFTER_S, Schedule, retry_after_s
from live_api.endings import end
from live_api.waiting import set_within
from sinks.deliveries import Delivery, Outcome

logger = logging.getLogger(__name__)

WINDOW = 5_000
"""Notifications of an endpoint that are held in memory; more wait in the outbox."""
_THROTTLED = 429
_POLL_S = 0.2
_EXPIRE_EVERY_MS = 1_000
_LONGEST_WAIT_S = 60.0
_CLOCK_SET_MS = 2_000
"""Beside time that passed, more than any clock is slewed between two looks."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a courier is. Tests are less so."""

    schedule: Schedule = field(default_factory=Schedule)
    lease_beyond_s: float = 20.0
    """How much longer than a request may take the lease lasts; so long a killed process is waited for."""
    failures: int = FAILURES
    first_probe_ms: int = FIRST_PROBE_MS
    longest_probe_ms: int = LONGEST_PROBE_MS
    stop_within_s: float = 5.0
    """How long requests under way are waited for at the end."""


class Courier:
    """Delivers to one endpoint, if no other process does.

    *Guarantee*: at least once, each time with the same `webhook-id` and body; in the order of the outbox within a
    group, where a later notification is sent only once the earlier ones are delivered or given up. What was given up
    does not hold back its group: that an alert is over is told even where its beginning was not. A process that is
    killed repeats at most the requests that were under way.
    *Failure*: endpoints that fail are retried by the schedule, whatever they answered: an endpoint that says 404 is as
    often about to be put right as one that says 500. 410 switches it off. While Valkey is away nothing is sent.
    *Cost*: a few round trips a second, and up to 5,000 notifications in memory.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: Ledger,
        egress: Egress,
        meters: DeliveryMeters,
        log: Callable[[Delivery], None],
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        chance: Callable[[], float],
        pace: Pace,
    ) -> None:
        self._endpoint = endpoint
        self._ledger = ledger
        self._egress = egress
        self._meters = meters
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._chance = chance
        self._pace = pace
        self._lease_s = endpoint.timeout_s + pace.lease_beyond_s
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._queue = Queue()
        self._circuit = Circuit(self._pace.failures, self._pace.first_probe_ms, self._pace.longest_probe_ms)
        self._disabled = False
        self._paused_until_ms = 0
        self._lease_until_s = 0.0
        self._expired_at_ms = 0
        self._seen = self._clock(), self._monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set. What is a mistake in the program is logged as one, and holds up this endpoint alone:
        other couriers share the process."""
        self._meters.of(self._endpoint.name)
        wait_s, mistakes = 0.0, 0
        while not await set_within(stopping, wait_s):
            wait_s = 1.0
            asked_s = self._monotonic()
            try:
                leads = await self._ledger.acquire(int(self._lease_s * 1_000))
                self._meters.reached(self._endpoint.name, self._clock())
                if not leads:
                    continue
                logger.info("webhook %s: delivering to %s", self._endpoint.name, self._endpoint.shown)
                await self._lead(stopping, asked_s + self._lease_s)
            except LeaseLost as error:
                logger.warning("%s", error, extra={"event": "webhook_lease_lost"})
            except exceptions.ValkeyError as error:
                self._meters.unreached()
                logger.error("webhook %s: Valkey: %s; trying again", self._endpoint.name, error)
            except Exception:
                mistakes += 1
                wait_s = min(_LONGEST_WAIT_S, 2.0 * mistakes)
                logger.exception("webhook %s: unforeseen; trying again in %.0f s", self._endpoint.name, wait_s)

    async def _lead(self, stopping: asyncio.Event, lease_until_s: float) -> None:
        """Deliver for as long as the lease is ours."""
        self._begin_anew()
        self._lease_until_s = lease_until_s
        self._meters.active(self._endpoint.name, active=True)
        renewing = asyncio.create_task(self._renew())
        try:
            await self._recall()
            while not stopping.is_set():
                if self._failure is not None:
                    raise self._failure
                self._mind_the_clock()
                await self._look_at_state()
                await self._take_up()
                self._start()
                await self._expire()
                self._report()
                self._changed.clear()
                await set_within(self._changed, self._until_next_s())
            await self._land()
        finally:
            await end([renewing, *self._tasks])
            self._meters.active(self._endpoint.name, active=False)
            with contextlib.suppress(exceptions.ValkeyError):
                await self._ledger.release()

    async def _renew(self) -> None:
        """Keep the lease. It is thought to end earlier than it does, as it is counted from before it was asked for."""
        while self._failure is None:
            await asyncio.sleep(min(3.0, self._pace.lease_beyond_s / 4))
            began_s = self._monotonic()
            try:
                await self._ledger.renew(int(self._lease_s * 1_000))
            except LeaseLost as error:
                self._fail(error)
            except exceptions.ValkeyError as error:
                if self._monotonic() >= self._lease_until_s:
                    self._fail(error)
            except Exception as error:  # else it would be a lease that nobody keeps, without a word
                self._fail(error)
            else:
                self._lease_until_s = began_s + self._lease_s

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._changed.set()

    async def _recall(self) -> None:
        """What an earlier process left."""
        state = await self._ledger.state()
        if state.get("circuit"):
            self._circuit.restore(state["circuit"])
            self._circuit.probe_ms = min(self._circuit.probe_ms, self._now_ms() + self._pace.longest_probe_ms)
        self._disabled = state.get("disabled_ms") is not None
        async for page in self._ledger.backlog():
            await self._add(page)

    def _now_ms(self) -> int:
        """The clock, once it is known whether it was set since it was looked at last: a time that is put off by a clock
        that was set already must not be shifted with those that were put off before."""
        self._mind_the_clock()
        return self._clock()

    def _mind_the_clock(self) -> None:
        """One that was set goes with what waits: else that would be far off, or all of it overdue and given up."""
        now_ms, now_s = self._clock(), self._monotonic()
        seen_ms, seen_s = self._seen
        set_ms = now_ms - seen_ms - int((now_s - seen_s) * 1_000)
        self._seen = now_ms, now_s
        if abs(set_ms) < _CLOCK_SET_MS:
            return
        logger.warning("webhook %s: the clock was set by %.0f s", self._endpoint.name, set_ms / 1_000)
        self._expired_at_ms += set_ms
        self._paused_until_ms += set_ms
        self._circuit.probe_ms += set_ms
        self._queue.shift(set_ms)

    async def _look_at_state(self) -> None:
        """Somebody may have switched it on again."""
        if self._disabled and (await self._ledger.state()).get("disabled_ms") is None:
            logger.info("webhook %s: switched on again", self._endpoint.name)
            self._disabled = False
            self._queue.hasten(self._now_ms())

    async def _take_up(self) -> None:
        while (room := WINDOW - len(self._queue)) > 0:
            page = await self._ledger.fresh(room)
            self._meters.reached(self._endpoint.name, self._clock())
            await self._add(page)
            if not page:
                return

    async def _add(self, page: Sequence[Taken]) -> None:
        now_ms = self._now_ms()
        skipped, wanted = [], []
        for taken in page:
            told = None if taken.notification is None else self._endpoint.of_interest(taken.notification)
            if told is None:
                skipped.append(taken.entry)
            else:
                wanted.append(Waiting(taken.entry, told, now_ms, now_ms, original=taken.original, forced=taken.forced))
        tries = await self._ledger.tries([one.entry for one in wanted])
        done = await self._ledger.finished([one.notification.id for one in wanted if one.original is None])
        new = []
        for one in wanted:
            # Written again by a processor that had crashed; one that was put back by hand is meant to be sent.
            again = one.original is None and one.notification.id in done
            if known := tries.get(one.entry):
                one.attempts, one.sent = known["attempts"], known["sent"]
                # Of a clock that has been set back since, what was to be soon would be far off.
                one.first_ms = min(known["first_ms"], now_ms)
                one.next_ms = min(known["next_ms"], self._latest_ms(one.attempts, now_ms))
            if again or not self._queue.add(one):
                skipped.append(one.entry)
            elif known is None:
                new.append(one)
        self._meters.received(self._endpoint.name, len(new), skipped=len(skipped))
        await self._ledger.skip(skipped)
        await self._ledger.keep(new)

    def _latest_ms(self, attempts: int, now_ms: int) -> int:
        """The latest that an attempt after so many can have been put off to."""
        return self._pace.schedule.next_ms(attempts, now_ms, 1.0, LONGEST_RETRY_AFTER_S) or now_ms

    async def _expire(self) -> None:
        """Give up what has waited longer than all its attempts would have taken, as only probes were sent, or none."""
        now_ms = self._now_ms()
        if now_ms - self._expired_at_ms < _EXPIRE_EVERY_MS:
            return
        self._expired_at_ms = now_ms
        grace_ms = self._pace.longest_probe_ms
        for waiting in self._queue.expired(now_ms - self._pace.schedule.span_ms - grace_ms):
            why = "switched off" if self._disabled else "it failed for all that time"
            await self._give_up(waiting, f"not delivered after {waiting.attempts} attempts: {why}")

    def _start(self) -> None:
        now_ms = self._now_ms()
        if self._disabled or now_ms < self._paused_until_ms:
            return
        if not self._lease_lasts():
            return
        room = self._circuit.room(now_ms, self._queue.flying, self._endpoint.concurrency)
        for waiting in self._queue.take(now_ms, room):
            task = asyncio.create_task(self._deliver(waiting))
            self._tasks.add(task)
            task.add_done_callback(self._landed)

    def _lease_lasts(self) -> bool:
        """Whether it is ours for longer than a request takes, so that no other process can overtake one."""
        return self._lease_until_s - self._monotonic() > self._endpoint.timeout_s

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        self._changed.set()

    async def _land(self) -> None:
        """The end: what is under way has a moment, the rest goes on after the next start."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._pace.stop_within_s)

    def _until_next_s(self) -> float:
        next_ms, now_ms = self._queue.next_ms(), self._now_ms()
        if next_ms is None or next_ms <= now_ms:
            # None waits, or one that may not begin: what would let it begin is looked at as often, or wakes us.
            return _POLL_S
        return min(_POLL_S, (next_ms - now_ms) / 1_000)

    def _report(self) -> None:
        self._meters.stands(
            self._endpoint.name,
            waiting=len(self._queue),
            oldest_ms=self._queue.oldest_ms,
            now_ms=self._now_ms(),
            circuit_open=self._circuit.open,
            disabled=self._disabled,
        )

    async def _deliver(self, waiting: Waiting) -> None:
        """One attempt: all requests of a notification that were not taken yet, in their order."""
        if (
            waiting.original is not None
            and not waiting.forced
            and await self._ledger.overtaken(waiting.notification.group, waiting.original)
        ):
            await self._give_up(waiting, "overtaken: later news of the same alert was delivered")
            return
        try:
            requests = bodies(self._endpoint.form, waiting.notification, self._endpoint.wanted)
        except (ValueError, TypeError, KeyError, OverflowError, OSError) as error:
            # A record that cannot be told, such as one of a time beyond all calendars, must not hold up the rest.
            await self._give_up(waiting, f"it cannot be put into format {self._endpoint.form}: {error!r}")
            return
        waiting.attempts += 1
        if waiting.sent >= len(requests):
            # The catalog was changed meanwhile: it is told of fewer alerts, or in another format.
            waiting.sent = 0
        while waiting.sent < len(requests):
            attempt = await send(self._endpoint, self._egress, requests[waiting.sent], self._now_ms())
            if not attempt.delivered:
                await self._failed(waiting, attempt)
                return
            waiting.sent += 1
            if waiting.sent < len(requests):
                await self._ledger.keep([waiting])
                if not self._lease_lasts():
                    waiting.attempts -= 1
                    self._queue.postpone(waiting, self._now_ms())
                    return
        now_ms = self._now_ms()
        await self._finish(waiting, now_ms)
        closed = self._circuit.succeeded()
        await self._note(waiting, attempt, now_ms)
        if closed:
            logger.info("webhook %s: it answers again", self._endpoint.name)
            await self._ledger.keep(self._queue.hasten(now_ms))

    async def _finish(self, waiting: Waiting, now_ms: int, *, dead: str | None = None) -> None:
        """Also when Valkey is away for a moment, as otherwise it would be sent once more."""
        while True:
            try:
                await self._ledger.finish(waiting, now_ms, dead=dead)
            except exceptions.ValkeyError:
                if self._monotonic() >= self._lease_until_s:
                    raise
                await asyncio.sleep(_POLL_S)
            else:
                self._queue.remove(waiting, now_ms)
                return

    async def _failed(self, waiting: Waiting, attempt: Attempt) -> None:
        now_ms = self._now_ms()
        wanted_s = None if attempt.answer is None else retry_after_s(attempt.answer.retry_after, now_ms)
        if wanted_s is not None:
            # What it asks for is about all that it is sent.
            self._paused_until_ms = max(self._paused_until_ms, now_ms + int(wanted_s * 1_000))
        if attempt.outcome is Outcome.GONE:
            waiting.attempts -= 1
            await self._switch_off(now_ms)
            await self._note(waiting, attempt, now_ms)
            self._queue.postpone(waiting, now_ms)
            return
        throttled = attempt.answer is not None and attempt.answer.status == _THROTTLED
        if not throttled and self._circuit.failed(now_ms):
            logger.warning(
                "webhook %s: %d failures in a row, the last: %s; from now on it is only tried now and then",
                self._endpoint.name,
                self._circuit.failures,
                attempt.error,
            )
        next_ms = self._pace.schedule.next_ms(waiting.attempts, now_ms, self._chance(), wanted_s)
        if next_ms is None:
            await self._give_up(waiting, f"attempt {waiting.attempts}, the last: {attempt.error}", attempt)
            return
        waiting.next_ms = next_ms
        await self._ledger.keep([waiting])
        await self._note(waiting, attempt, now_ms)
        # As it is by now: the clock may have been set while that was written down.
        self._queue.postpone(waiting, waiting.next_ms)

    async def _give_up(self, waiting: Waiting, why: str, attempt: Attempt | None = None) -> None:
        now_ms = self._now_ms()
        await self._finish(waiting, now_ms, dead=why)
        logger.error("webhook %s: notification %s is given up: %s", self._endpoint.name, waiting.notification.id, why)
        answer = None if attempt is None else attempt.answer
        await self._note(
            waiting, Attempt(Outcome.DEAD, answer, None if attempt is None else attempt.took_ms, why), now_ms
        )

    async def _switch_off(self, now_ms: int) -> None:
        logger.error(
            "webhook %s: it answered 410 and is switched off; `streamgauge webhooks enable %s` ends that",
            self._endpoint.name,
            self._endpoint.name,
        )
        self._disabled = True
        await self._ledger.set_state(disabled_ms=now_ms, why="it answered 410 Gone")

    async def _note(self, waiting: Waiting, attempt: Attempt, now_ms: int) -> None:
        """For people: the log, the metrics, and the last outcome."""
        status = None if attempt.answer is None else attempt.answer.status
        number = max(1, waiting.attempts)
        delivery = Delivery(
            self._endpoint.name,
            waiting.notification.id,
            number,
            now_ms,
            attempt.outcome,
            status,
            attempt.took_ms,
            attempt.error,
        )
        self._log(delivery)
        self._meters.attempted(self._endpoint.name, attempt.outcome, attempt.took_ms)
        last = {"at_ms": now_ms, "outcome": attempt.outcome, "status": status, "error": attempt.error}
        await self._ledger.set_state(circuit=self._circuit.to_state(), last=last)
