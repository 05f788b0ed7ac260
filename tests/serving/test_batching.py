from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from indexing.storage import IndexFolder
from lsr.core.errors import NotReadyError, OverloadedError
from lsr.core.sparse import SparseMatrix
from lsr.encoders.lexical import LexicalEncoder
from serving.app import create_app
from serving.batching import QueryBatcher
from serving.engine import Engine
from serving.settings import ServeSettings
from tests.serving.expanding import ExpandingEncoder


class Gate:
    """An encoder that waits until it is let through, and remembers its batches."""

    def __init__(self, encoder: LexicalEncoder) -> None:
        self.encoder = encoder
        self.open = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> SparseMatrix:
        self.batches.append(list(texts))
        assert self.open.wait(5)
        if "poison" in texts:
            raise ArithmeticError("poison")
        return self.encoder.encode_queries(texts)


def test_what_arrives_meanwhile_is_the_next_batch(encoder: LexicalEncoder) -> None:
    gate, sizes = Gate(encoder), list[int]()

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher = QueryBatcher(gate, pool, max_batch=3, observe=sizes.append)
            texts = ["super", "bowl", "york", "network", "edison"]
            first = asyncio.create_task(batcher.encode(texts[0]))
            while not gate.batches:
                await asyncio.sleep(0.001)
            rest = [asyncio.create_task(batcher.encode(text)) for text in texts[1:]]
            await asyncio.sleep(0.01)
            gate.open.set()
            vectors = await asyncio.gather(first, *rest)
            expected = encoder.encode_queries(texts)
            assert vectors == list(expected)
            await batcher.close()

    asyncio.run(main())
    assert gate.batches == [["super"], ["bowl", "york", "network"], ["edison"]]
    assert sizes == [1, 3, 1]


def test_one_bad_text_fails_alone(encoder: LexicalEncoder) -> None:
    gate = Gate(encoder)

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher = QueryBatcher(gate, pool)
            gate.open.set()
            results = await asyncio.gather(
                *(batcher.encode(t) for t in ("super", "poison", "york")), return_exceptions=True
            )
            assert isinstance(results[1], ArithmeticError)
            assert [results[0], results[2]] == list(encoder.encode_queries(["super", "york"]))
            await batcher.close()

    asyncio.run(main())


def test_overload_cancelling_and_closing(encoder: LexicalEncoder) -> None:
    gate = Gate(encoder)

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher = QueryBatcher(gate, pool, max_waiting=2)
            first = asyncio.create_task(batcher.encode("super"))
            while not gate.batches:
                await asyncio.sleep(0.001)
            waiting = [asyncio.create_task(batcher.encode(t)) for t in ("bowl", "york")]
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError, match="2 queries wait"):
                await batcher.encode("network")
            waiting[0].cancel()
            closing = asyncio.create_task(batcher.close())
            await asyncio.sleep(0)
            with pytest.raises(NotReadyError):
                await batcher.encode("late")
            gate.open.set()
            await closing
            assert (await first).nnz == (await waiting[1]).nnz == 1

    asyncio.run(main())
    assert gate.batches == [["super"], ["york"]]  # nobody waited for "bowl" any more


def test_concurrent_requests_are_encoded_together(
    index_path: Path, encoder: LexicalEncoder
) -> None:
    slow = ExpandingEncoder(encoder, {"bowl": "network"}, seconds=0.02)
    engine = Engine(IndexFolder.open(index_path), slow, name="toy")
    app = create_app(ServeSettings(threads=2, allowed_hosts=("t",)), engines=[engine])

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with app.router.lifespan_context(app):
            slow.batches.clear()
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                posts = [
                    client.post("/v1/indexes/toy/search", json={"query": q, "explain": True})
                    for q in ["bowl"] * 11 + ["poison"]
                ]
                return await asyncio.gather(*posts)

    responses = asyncio.run(main())
    assert [r.status_code for r in responses] == [200] * 11 + [500]
    hits = responses[0].json()["hits"]
    assert all(r.json()["hits"] == hits for r in responses[1:11])
    # Together, and the poisoned batch again one by one.
    assert max(slow.batches) >= 11
    assert slow.batches.count(1) >= 11
    terms = {t["token"]: t for t in hits[0]["explanation"]}
    assert terms["bowl"]["in_query"] and not terms["network"]["in_query"]
    assert {t["token"]: t["in_query"] for t in responses[0].json()["query"]["terms"]} == {
        "bowl": True,
        "network": False,
    }
