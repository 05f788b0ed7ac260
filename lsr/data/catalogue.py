"""Public collections that `lsr data get` knows: where they stand, their checksums and counts."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CATALOGUE", "PublicDataset"]

_BEIR = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
_MSMARCO = "https://msmarco.z22.web.core.windows.net/msmarcoranking"


class PublicDataset(NamedTuple):
    """One collection to download.

    Attributes
    ----------
    url, checksum, n_bytes
        The archive; the checksum is its publishers', as ir_datasets lists it too.
    n_documents : int or None
        As published; None where the archive holds several collections.
    about : str
        One line.
    """

    url: str
    checksum: str
    n_bytes: int
    n_documents: int | None
    about: str


def _beir(name: str, md5: str, n_bytes: int, n_documents: int | None, about: str) -> PublicDataset:
    return PublicDataset(f"{_BEIR}/{name}.zip", f"md5:{md5}", n_bytes, n_documents, about)


CATALOGUE: dict[str, PublicDataset] = {
    "arguana": _beir(
        "arguana",
        "8ad3e3c2a5867cdced806d6503f29b99",
        3_773_617,
        8_674,
        "BEIR: argument → its counter-argument",
    ),
    "climate-fever": _beir(
        "climate-fever",
        "8b66f0a9126c521bae2bde127b4dc99d",
        1_228_666_652,
        5_416_593,
        "BEIR: climate claim → Wikipedia",
    ),
    "cqadupstack": _beir(
        "cqadupstack",
        "4e41456d7df8ee7760a7f866133bda78",
        5_343_728_040,
        None,
        "BEIR: duplicate questions of 12 forums; use cqadupstack/FORUM",
    ),
    "dbpedia-entity": _beir(
        "dbpedia-entity",
        "c2a39eb420a3164af735795df012ac2c",
        639_285_131,
        4_635_922,
        "BEIR: query → DBpedia entity",
    ),
    "fever": _beir(
        "fever",
        "5a818580227bfb4b35bb6fa46d9b6c03",
        1_236_988_269,
        5_416_568,
        "BEIR: claim → Wikipedia",
    ),
    "fiqa": _beir(
        "fiqa", "17918ed23cd04fb15047f73e6c3bd9d9", 17_948_027, 57_638, "BEIR: financial questions"
    ),
    "hotpotqa": _beir(
        "hotpotqa",
        "f412724f78b0d91183a0e86805e16114",
        654_025_350,
        5_233_329,
        "BEIR: multi-hop question → Wikipedia",
    ),
    "msmarco-passage": PublicDataset(
        f"{_MSMARCO}/collectionandqueries.tar.gz",
        "md5:31644046b18952c1386cd4564ba2ae69",
        1_057_717_952,
        8_841_823,
        "MS MARCO v1 passages, queries and judgements, as files of tabs",
    ),
    "nfcorpus": _beir(
        "nfcorpus",
        "a89dba18a62ef92f7d323ec890a0d38d",
        2_448_432,
        3_633,
        "BEIR: nutrition question → medical abstract",
    ),
    "nq": _beir(
        "nq",
        "d4d3d2e48787a744b6f6e691ff534307",
        498_307_926,
        2_681_468,
        "BEIR: Google question → Wikipedia",
    ),
    "quora": _beir(
        "quora",
        "18fb154900ba42a600f84b839c173167",
        15_853_968,
        522_931,
        "BEIR: duplicate questions",
    ),
    "scidocs": _beir(
        "scidocs",
        "38121350fc3a4d2f48850f6aff52e4a9",
        142_471_588,
        25_657,
        "BEIR: paper title → cited papers",
    ),
    "scifact": _beir(
        "scifact",
        "5f7d1de60b170fc8027bb7898e2efca1",
        2_816_079,
        5_183,
        "BEIR: scientific claim → abstract",
    ),
    "trec-covid": _beir(
        "trec-covid",
        "ce62140cb23feb9becf6270d0d1fe6d1",
        73_876_720,
        171_332,
        "BEIR: COVID-19 topic → paper",
    ),
    "webis-touche2020": _beir(
        "webis-touche2020",
        "46f650ba5a527fc69e0a6521c5a23563",
        227_132_363,
        382_545,
        "BEIR: controversial question → argument (version 2)",
    ),
}
"""By name. BEIR's collections that are not public (BioASQ, Signal-1M, TREC-News, Robust04) are
missing; a folder in BEIR's layout with any of them works like the others."""
