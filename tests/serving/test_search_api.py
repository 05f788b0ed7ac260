from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

SEARCH = "/v1/indexes/toy/search"


def test_search_finds_ranks_and_times(client: TestClient) -> None:
    body = client.post(SEARCH, json={"query": "super bowl network", "k": 3}).json()
    assert [hit["doc_id"] for hit in body["hits"]] == ["bowl", "emoji", "edison"]
    assert [hit["rank"] for hit in body["hits"]] == [1, 2, 3]
    scores = [hit["score"] for hit in body["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert body["hits"][0]["document"]["title"] == "Super Bowl 50"
    assert {term["token"] for term in body["query"]["terms"]} == {"super", "bowl", "network"}
    assert set(body["took_ms"]) == {"encode", "search", "fetch"}
    assert body["index"] == "toy"
    # Detail only on request.
    assert not {"explanation", "highlights"} & set(body["hits"][0])


def test_get_and_post_agree(client: TestClient) -> None:
    posted = client.post(SEARCH, json={"query": "new york", "k": 2}).json()
    got = client.get(SEARCH, params={"q": "new york", "k": 2}).json()
    for body in (posted, got):
        del body["took_ms"], body["request_id"]
    assert posted == got


def test_terms_search_like_the_text_they_come_from(client: TestClient) -> None:
    by_text = client.post(SEARCH, json={"query": "new york edison"}).json()
    weights = {term["token"]: term["weight"] for term in by_text["query"]["terms"]}
    by_terms = client.post(SEARCH, json={"query": weights}).json()
    assert by_terms["hits"] == by_text["hits"]


def test_explanation_sums_to_the_score(client: TestClient) -> None:
    request = {"query": "super bowl network york", "explain": True}
    for hit in client.post(SEARCH, json=request).json()["hits"]:
        terms = hit["explanation"]
        assert sum(t["contribution"] for t in terms) == pytest.approx(hit["score"], rel=1e-5)
        for term in terms:
            product = term["query_weight"] * term["document_weight"]
            assert term["contribution"] == pytest.approx(product)
            assert term["in_query"]
            assert term["in_document"]


def test_highlights_are_code_point_offsets(client: TestClient) -> None:
    request = {"query": "super stanford fans", "highlight": True, "k": 1}
    hit = client.post(SEARCH, json=request).json()["hits"][0]
    assert hit["doc_id"] == "emoji"
    shown = [hit["document"][h["field"]][h["start"] : h["end"]] for h in hit["highlights"]]
    assert shown[:2] == ["Fans", "super"]
    tokens = [h["token"] for h in hit["highlights"]]
    assert tokens[:2] == ["fan", "super"]


def test_fields_choose_what_comes_back(client: TestClient) -> None:
    request = {"query": "super bowl", "k": 1, "fields": []}
    assert "document" not in client.post(SEARCH, json=request).json()["hits"][0]
    request["fields"] = ["metadata"]
    document = client.post(SEARCH, json=request).json()["hits"][0]["document"]
    assert document == {"doc_id": "bowl", "metadata": {"year": 2016, "tags": ["sport"]}}


def test_words_that_no_document_has_find_nothing(client: TestClient) -> None:
    body = client.post(SEARCH, json={"query": "zebra"}).json()
    assert body["hits"] == []
    assert body["query"]["terms"] == []


def test_query_edits(client: TestClient) -> None:
    request = {"query": "super network", "explain": True}
    plain = client.post(SEARCH, json=request).json()
    before = {term["token"]: term["weight"] for term in plain["query"]["terms"]}
    edit = {"boost": {"network": 2.0, "bowl": 9.0}, "drop": ["super"], "add": {"edison": 5.0}}
    body = client.post(SEARCH, json={**request, "edit": edit}).json()
    after = {term["token"]: term["weight"] for term in body["query"]["terms"]}
    assert after == {"edison": 5.0, "network": pytest.approx(2 * before["network"])}
    assert body["hits"][0]["doc_id"] == "edison"
    assert all(term["in_query"] for term in body["hits"][0]["explanation"])


def test_batch_answers_in_order(client: TestClient) -> None:
    queries = ["new york", {"super": 1.0}, "normandy france", "zebra"]
    body = client.post(f"{SEARCH}/batch", json={"queries": queries, "k": 2}).json()
    found = [[hit["doc_id"] for hit in result["hits"]] for result in body["results"]]
    alone = [
        [h["doc_id"] for h in client.post(SEARCH, json={"query": q, "k": 2}).json()["hits"]]
        for q in queries
    ]
    assert found == alone
    assert found[3] == []
    assert "document" not in body["results"][0]["hits"][0]


def test_explain_a_document_that_was_not_found(client: TestClient) -> None:
    request = {"query": "super bowl york", "doc_id": "tesla"}
    body = client.post("/v1/indexes/toy/explain", json=request).json()
    assert [term["token"] for term in body["terms"]] == ["york"]
    assert {term["token"] for term in body["missing"]} == {"super", "bowl"}
    assert body["score"] == pytest.approx(body["terms"][0]["contribution"])
    request["query"] = "normandy"
    assert client.post("/v1/indexes/toy/explain", json=request).json()["score"] == 0


@pytest.mark.parametrize("side", ["query", "document"])
def test_encode_shows_terms_weights_and_places(client: TestClient, side: str) -> None:
    text = "🏈 Networks of networks"
    request = {"text": text, "side": side}
    body = client.post("/v1/indexes/toy/encode", json=request).json()
    assert [term["token"] for term in body["terms"]] == ["network"]
    spans = body["terms"][0]["spans"]
    assert [text[start:end] for start, end in spans] == ["Networks", "networks"]
    assert body["encoder"] == "lexical"


def test_documents_by_id(client: TestClient) -> None:
    assert client.get("/v1/indexes/toy/documents/norm/ans").json()["title"] == "Normans"
    assert client.get("/v1/indexes/toy/documents/norm%2Fans").json()["title"] == "Normans"
    assert client.get("/v1/indexes/toy/documents/bowl").json()["metadata"]["year"] == 2016


def test_indexes_are_listed_and_described(client: TestClient) -> None:
    listed = client.get("/v1/indexes").json()["indexes"]
    assert [info["name"] for info in listed] == ["pruned", "toy"]
    listed = listed[1:]
    assert listed == [client.get("/v1/indexes/toy").json()]
    assert listed[0]["n_documents"] == 5
    assert listed[0]["layout"] == "exact"
    assert listed[0]["encoder"] == "lexical"
    assert listed[0]["has_documents"]
    assert listed[0]["parameters"] == []
    assert listed[0]["bytes"] > 0


def test_parameters_are_described_checked_and_used(client: TestClient) -> None:
    parameters = client.get("/v1/indexes/pruned").json()["parameters"]
    by_name = {parameter["name"]: parameter for parameter in parameters}
    assert "exact" not in by_name
    assert by_name["heap_factor"]["minimum"] == 0
    assert by_name["heap_factor"]["maximum"] == 1
    assert "recall" in by_name["heap_factor"]["description"]
    request = {"query": "super", "params": {"query_cut": 3}}
    body = client.post("/v1/indexes/pruned/search", json=request).json()
    assert body["params"]["query_cut"] == 3
    assert body["params"]["heap_factor"] == by_name["heap_factor"]["default"]
    wrong = {"query": "super", "params": {"query_cutt": 3, "heap_factor": 7}}
    error = client.post("/v1/indexes/pruned/search", json=wrong).json()["error"]
    assert error["code"] == "config_invalid"
    assert "Did you mean 'query_cut'?" in error["message"]
    assert "heap_factor" in error["message"]


def test_comparison_with_exact_search(client: TestClient) -> None:
    request = {"query": "super new york", "k": 4, "compare_exact": True}
    exact = client.post(SEARCH, json=request).json()
    assert exact["exact"]["overlap"] == 1
    assert exact["exact"]["missed"] == []
    pruned = client.post("/v1/indexes/pruned/search", json=request).json()
    found = {hit["doc_id"] for hit in pruned["hits"]}
    best = [hit["doc_id"] for hit in exact["hits"]]
    assert pruned["exact"]["missed"] == [doc_id for doc_id in best if doc_id not in found]
    assert pruned["exact"]["missed"]  # one posting a list must miss something
    assert pruned["exact"]["overlap"] == pytest.approx(1 - len(pruned["exact"]["missed"]) / 4)
    # The reason is told for a document that was missed.
    missed = {"query": "super new york", "doc_id": pruned["exact"]["missed"][0], "k": 4}
    why = client.post("/v1/indexes/pruned/explain", json=missed).json()
    assert why["reason"] != "found"
    assert why["score"] > 0
    assert client.post("/v1/indexes/toy/explain", json=missed).json()["reason"] == "found"


def test_target_recall_needs_a_tuned_index(client: TestClient) -> None:
    request = {"query": "super", "target_recall": 0.9}
    assert client.post(SEARCH, json=request).status_code == 200  # exact: reaches every recall
    response = client.post("/v1/indexes/pruned/search", json=request)
    assert response.status_code == 422
    assert "lsr index tune" in response.json()["error"]["hint"]
    both = {**request, "params": {"query_cut": 3}}
    assert client.post("/v1/indexes/pruned/search", json=both).status_code == 422


def test_filters_of_an_index_folder(client: TestClient) -> None:
    assert client.get("/v1/indexes/toy").json()["fields"] == {"tags": "string", "year": "number"}

    def found(given: Any, **more: Any) -> list[str]:
        response = client.post(SEARCH, json={"query": "super york", "filter": given, **more})
        assert response.status_code == 200, response.text
        return [hit["doc_id"] for hit in response.json()["hits"]]

    assert found({"equals": {"year": 2016}}) == ["bowl"]
    assert sorted(found({"not": {"exists": "tags"}})) == ["edison", "emoji", "tesla"]
    assert found({"range": {"year": {"gt": 2016}}}) == []
    batch = {"queries": ["super", "york"], "filter": {"equals": {"tags": "sport"}}}
    results = client.post(f"{SEARCH}/batch", json=batch).json()["results"]
    assert [[hit["doc_id"] for hit in result["hits"]] for result in results] == [["bowl"], []]
    why = {"query": "super", "doc_id": "emoji", "filter": {"exists": "year"}}
    explained = client.post("/v1/indexes/toy/explain", json=why).json()
    assert explained["reason"] == "filtered_out"
    for wrong in ({"equals": {"yeer": 2016}}, {"equals": {"year": "x"}}):
        response = client.post(SEARCH, json={"query": "super", "filter": wrong})
        assert response.status_code == 422
        assert response.json()["error"]["code"] == "filter_invalid"
