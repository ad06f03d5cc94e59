from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from live_api.delivery.queue import Queue, Waiting
from tests.alerts import notification


def waiting(number: int, group: str, next_ms: int = 0, id_of: int | None = None) -> Waiting:
    about = notification(group, number if id_of is None else id_of)
    return Waiting(f"1-{number}", about, first_ms=0, next_ms=next_ms)


def test_of_a_group_only_the_first_is_given_out() -> None:
    queue = Queue()
    first, second, other = waiting(1, "a"), waiting(2, "a"), waiting(3, "b")
    assert all(queue.add(one) for one in (first, second, other))
    assert queue.take(0, 10) == [first, other]
    assert queue.take(0, 10) == []
    queue.postpone(first, 50)
    assert queue.take(49, 10) == []
    assert queue.next_ms() == 50
    assert queue.take(50, 10) == [first]
    queue.remove(first, 60)
    assert queue.take(60, 10) == [second]
    assert second.first_ms == 60
    assert (len(queue), queue.flying) == (2, 2)


def test_the_same_id_waits_once() -> None:
    queue = Queue()
    assert queue.add(waiting(1, "a"))
    assert not queue.add(waiting(2, "a", id_of=1))
    [one] = queue.take(0, 9)
    assert not queue.add(waiting(3, "a", id_of=1))
    queue.remove(one, 0)
    assert len(queue) == 0
    assert queue.oldest_ms is None


def test_what_waits_for_later_is_due_when_the_endpoint_is_back() -> None:
    queue = Queue()
    late, soon = waiting(1, "a", next_ms=9_000), waiting(2, "b", next_ms=10)
    queue.add(late)
    queue.add(soon)
    assert queue.hasten(20) == [late]
    assert queue.take(20, 9) == [soon, late]


def test_what_has_waited_for_too_long_is_found_once() -> None:
    queue = Queue()
    old = waiting(1, "a", next_ms=9_000)
    queue.add(old)
    assert queue.expired(0) == []
    assert queue.expired(1) == [old]
    assert queue.expired(1) == []
    queue.remove(old, 5)
    assert queue.next_ms() is None


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.integers(1, 5), st.randoms(use_true_random=False))
def test_whatever_fails_each_group_comes_out_in_order_and_whole(
    groups: list[str], most: int, chance: random.Random
) -> None:
    queue, told = Queue(), [waiting(number, group) for number, group in enumerate(groups)]
    coming, out, now_ms = list(told), [], 0
    flying: list[Waiting] = []
    while coming or len(queue):
        now_ms += 1
        if coming and chance.random() < 0.5:
            queue.add(coming.pop(0))
        flying += queue.take(now_ms, most - len(flying))
        assert len({one.notification.group for one in flying}) == len(flying) == queue.flying <= most
        if flying:
            one = flying.pop(chance.randrange(len(flying)))
            if chance.random() < 0.4:
                queue.postpone(one, now_ms + chance.randrange(5))
            else:
                queue.remove(one, now_ms)
                out.append(one)
    for group in set(groups):
        assert [one for one in out if one.notification.group == group] == [
            one for one in told if one.notification.group == group
        ]
    assert len(out) == len(told)
