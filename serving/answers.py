"""From the engine's results to the bodies of the API's answers."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from indexing.explain import Explanation
from lsr.core.config import Config
from lsr.core.records import Document
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary
from serving.engine import Engine
from serving.highlight import ShownTerms
from serving.results import Answer, EncodedText, Hit, HitParts, Times
from serving.schemas import IndexInfo, ParameterInfo
from serving.schemas_search import (
    DocumentBody,
    EncodedTerm,
    ExactComparison,
    ExplainedTerm,
    HighlightBody,
    HitPartsBody,
    PartBody,
    Took,
)

__all__ = [
    "document_body",
    "document_values",
    "encoded_terms",
    "explained_terms",
    "hit_body",
    "hit_parts",
    "index_info",
    "query_terms",
    "search_response",
    "took",
]


def _heaviest(vector: SparseVector) -> Iterator[tuple[int, float]]:
    for at in np.argsort(-vector.weights, kind="stable").tolist():
        yield int(vector.terms[at]), float(vector.weights[at])


def query_terms(
    vector: SparseVector, vocabulary: Vocabulary, *, in_query: ShownTerms | None = None
) -> list[dict[str, Any]]:
    """Return the values of a `TermWeight` for each term of a vector, heaviest first.

    With whether and where the text shows it, if known.
    """
    token = vocabulary.token
    if in_query is None:
        return [{"token": token(t), "weight": w} for t, w in _heaviest(vector)]
    return [
        {"token": token(t), "weight": w, "in_query": t in in_query, "spans": in_query.get(t, [])}
        for t, w in _heaviest(vector)
    ]


def encoded_terms(encoded: EncodedText, vocabulary: Vocabulary) -> list[EncodedTerm]:
    """Return the terms of an encoded text with the pieces that show them, heaviest first."""
    return [
        EncodedTerm(token=vocabulary.token(t), weight=w, spans=encoded.spans.get(t, []))
        for t, w in _heaviest(encoded.vector)
    ]


def explained_terms(
    explanation: Explanation,
    *,
    in_query: Collection[int],
    in_document: Collection[int] | None,
) -> list[ExplainedTerm]:
    """Return the table of an explanation, with where each term stands.

    Parameters
    ----------
    explanation : Explanation
        Of one document.
    in_query, in_document : collection of int
        The terms that the texts show; None where the document's text is not at hand.
    """
    return [
        ExplainedTerm(
            token=line.token,
            query_weight=line.query_weight,
            document_weight=line.document_weight,
            contribution=line.contribution,
            in_query=line.term in in_query,
            in_document=None if in_document is None else line.term in in_document,
        )
        for line in explanation.terms
    ]


def document_body(document: Document, fields: Collection[str]) -> DocumentBody:
    """Return the requested fields of a document; the others stay unset; as `document_values`."""
    return DocumentBody(**document_values(document, fields))


def document_values(document: Document, fields: Collection[str]) -> dict[str, Any]:
    """Return the identifier and the requested fields of a document.

    ``metadata.NAME`` is one value of the metadata; of an object's, the names are joined by dots.
    """
    values: dict[str, Any] = {"doc_id": document.doc_id}
    values |= {n: getattr(document, n) for n in fields if n in ("title", "text")}
    single = [name.removeprefix("metadata.") for name in fields if name.startswith("metadata.")]
    if "metadata" in fields:
        values["metadata"] = dict(document.metadata)
    elif single:
        chosen: dict[str, Any] = {}
        values["metadata"] = chosen
        for name in single:
            _copy_value(document.metadata, name, chosen)
    return values


def _copy_value(source: Mapping[str, Any], name: str, target: dict[str, Any]) -> None:
    if name in source:  # a name may hold dots itself
        target[name] = source[name]
        return
    first, _, rest = name.partition(".")
    if rest and isinstance(source.get(first), dict):
        inner = target.setdefault(first, {})
        _copy_value(source[first], rest, inner)
        if not inner:
            del target[first]


def hit_body(
    hit: Hit,
    vocabulary: Vocabulary,
    *,
    fields: Collection[str],
    highlight: bool = False,
    in_query: Collection[int] = (),
) -> dict[str, Any]:
    """Return the values of a `HitBody`; what was not asked for is left out."""
    values: dict[str, Any] = {"rank": hit.rank, "doc_id": hit.doc_id, "score": hit.score}
    if fields and hit.document is not None:
        values["document"] = document_values(hit.document, fields)
    if highlight and hit.highlights is not None:
        values["highlights"] = [
            HighlightBody(
                field=h.field,
                start=h.start,
                end=h.end,
                token=vocabulary.token(h.term),
                origin=h.origin,
            )
            for h in hit.highlights
        ]
    if hit.parts is not None:
        values["parts"] = hit_parts(hit.parts)
    if hit.explanation is not None:
        values["explanation"] = explained_terms(
            hit.explanation, in_query=in_query, in_document=hit.shown
        )
    return values


def hit_parts(parts: HitParts) -> HitPartsBody:
    """Return what the halves of a hybrid search gave."""
    sparse, dense = (PartBody(**part._asdict()) for part in parts)
    return HitPartsBody(sparse=sparse, dense=dense)


def took(times: Times) -> Took:
    """Return the times, in milliseconds with three digits."""
    return Took(
        encode=round(times.encode, 3), search=round(times.search, 3), fetch=round(times.fetch, 3)
    )


def search_response(
    engine: Engine,
    answer: Answer,
    *,
    fields: Collection[str],
    highlight: bool,
    in_query: ShownTerms | None,
    params: dict[str, Any],
    request_id: str,
) -> dict[str, Any]:
    """Return the values of a `SearchResponse`.

    Plain dicts, not the models: making thirty of these takes half as long as a search, and what
    they would check was made here.
    """
    vocabulary = engine.vocabulary
    exact: dict[str, Any] = {}
    if answer.comparison is not None:
        compared = answer.comparison
        exact["exact"] = ExactComparison(
            overlap=compared.overlap, missed=compared.missed, took_ms=round(compared.ms, 3)
        )
    return {
        "index": engine.name,
        "query": {"terms": query_terms(answer.query, vocabulary, in_query=in_query)},
        "hits": [
            hit_body(hit, vocabulary, fields=fields, highlight=highlight, in_query=in_query or ())
            for hit in answer.hits
        ],
        "params": params,
        "took_ms": took(answer.times),
        "request_id": request_id,
        **exact,
    }


def index_info(engine: Engine) -> IndexInfo:
    """Return the description of an index."""
    source, encoder = engine.source, engine.encoder
    return IndexInfo(
        name=engine.name,
        layout=source.layout,
        n_documents=source.n_documents,
        vocabulary_size=len(engine.vocabulary),
        encoder=encoder.name if encoder is not None else None,
        has_documents=source.has_documents,
        encodes_documents=engine.document_encoder is not None,
        dense=source.dense.name if source.dense is not None else None,
        dense_width=source.dense.width if source.dense is not None else None,
        updatable=source.updatable,
        fields=source.fields,
        parameters=_parameters(source.params_model),
        examples=list(engine.examples),
        bytes=sum(source.bytes_by_part().values()),
        created=source.created,
    )


def _parameters(model: type[Config] | None) -> list[ParameterInfo]:
    if model is None:
        return []
    descriptions = _attributes(model)
    described = []
    for name, schema in model.model_json_schema()["properties"].items():
        # `exact` is what `compare_exact` and the exact layout are for.
        if name == "exact" or schema.get("type") not in ("integer", "number", "boolean", "string"):
            continue
        described.append(
            ParameterInfo(
                name=name,
                type=schema["type"],
                default=schema.get("default"),
                minimum=schema.get("minimum", schema.get("exclusiveMinimum")),
                maximum=schema.get("maximum", schema.get("exclusiveMaximum")),
                description=descriptions.get(name, ""),
            )
        )
    return described


def _attributes(model: type[Config]) -> dict[str, str]:
    """Return what the class's docstring says about each attribute."""
    _, _, listed = (inspect.getdoc(model) or "").partition("Attributes\n----------\n")
    found: dict[str, list[str]] = {}
    name = ""
    for line in listed.splitlines():
        if line[:1].strip():
            name = line.partition(" : ")[0]
            found[name] = []
        elif name and line.strip():
            found[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}
