from __future__ import annotations

from collections import Counter

from lsr.core.records import Qrel, Query
from lsr.data.toy import load_toy


def test_the_shipped_collection_is_whole() -> None:
    toy = load_toy()
    documents = {d.doc_id: d for d in toy.documents()}
    assert len(documents) == toy.n_documents() == 2067
    assert len({d.title for d in documents.values()}) == 48
    assert all(d.title and d.text and d.metadata["url"] for d in documents.values())
    first = documents["1973_oil_crisis_0"]
    assert first.title == "1973 oil crisis"
    assert first.text.startswith("The 1973 oil crisis began in October 1973")
    assert first.metadata == {
        "url": "https://en.wikipedia.org/wiki/1973_oil_crisis",
        "paragraph": 1,
    }


def test_every_question_has_its_paragraph_and_every_article_ten() -> None:
    toy = load_toy()
    assert toy.splits() == ["test"]
    titles = {d.doc_id: d.title for d in toy.documents()}
    queries, qrels = list(toy.queries()), list(toy.qrels())
    assert len(queries) == len(qrels) == 480
    assert {q.query_id for q in queries} == {q.query_id for q in qrels}
    assert set(Counter(titles[q.doc_id] for q in qrels).values()) == {10}
    assert queries[0] == Query(
        "5725bcb6271a42140099d0ec", "When did they raise the price of oil to $5.11?"
    )
    assert qrels[0] == Qrel("5725bcb6271a42140099d0ec", "1973_oil_crisis_5", 1)


def test_it_is_small_and_names_its_authors() -> None:
    folder = load_toy().folder
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 700_000
    attribution = (folder / "ATTRIBUTION.md").read_text()
    assert "CC BY-SA 4.0" in attribution
    assert "Rajpurkar" in attribution
