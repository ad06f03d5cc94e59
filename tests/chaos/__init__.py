"""The chaos test: a real cluster over a real Valkey, killed at random, must end at the numbers of a plain batch.

`make chaos` runs the long form, `tests/integration/test_chaos.py` a short one.

What is promised, and where it is looked at:

- *The last value of every point is the batch's*: `trial` compares all that the store holds at the end, and what it had
  pruned before, with `tests.oracle` over the distinct honest events.
- *No point is lost or changed after being final except as a correction*: looked at where people look, in the store and
  in what a hub holds, not in the live stream itself. After a crash the processor starts at its last snapshot and emits
  values again that it had already settled, also ones from before a late event; that the two readers of its output take
  these in without unsettling a number is their part of the promise. The store is watched by triggers in its database,
  which see every single change (`ledger`), the hub by applying the live stream to `live_api.latest` and looking at
  what changed (`live`).
- *Nothing refused is forgotten or made up*: the streams themselves are read back at the end, and say how many entries
  came twice and which were garbage; a producer that got no answer does not know.
"""
