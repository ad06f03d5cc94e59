"""A pipeline's state as bytes, and a pipeline from them: what a restart of the processor does."""

from __future__ import annotations

from stream.pipeline import Pipeline
from stream.plan import Plan
from tests.batches import pseudonyms


def snapshot(pipeline: Pipeline) -> tuple[list[bytes], dict[str, bytes]]:
    shards = [shard.to_bytes() for shard in pipeline._shards]
    return shards, {key: merge.to_bytes() for key, merge in pipeline._merges.items()}


def resumed(
    plan: Plan, saved: tuple[list[bytes], dict[str, bytes]], *, whole_input: bool = False
) -> tuple[Pipeline, list[str]]:
    """A new pipeline with that state, and what it said about it."""
    notices: list[str] = []
    pipeline = Pipeline(plan, pseudonyms(), shards=len(saved[0]), whole_input=whole_input)
    for shard, state in zip(pipeline._shards, saved[0], strict=True):
        shard.restore(state, notices.append)
    for key, merge in pipeline._merges.items():
        if key in saved[1]:
            merge.restore(saved[1][key])
    return pipeline, notices
