"""The page in a real Chromium: what a user sees, types and clicks."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import uvicorn

from indexing import dense_folder
from indexing.build import build_index
from indexing.collection import Collection
from indexing.dense_folder import add_dense
from indexing.storage import IndexFolder
from lsr.core.records import Document
from lsr.encoders.base import Encoder
from lsr.encoders.encode import EncodeConfig, encode_collection
from lsr.encoders.lexical import LexicalConfig, LexicalEncoder
from lsr.encoders.lexical_channel import add_lexical
from lsr.encoders.loading import load_encoder
from serving import server
from serving.app import create_app
from serving.client import Client
from serving.engine import Engine
from serving.keys import KeyRing
from serving.settings import IndexSource, ServeSettings
from tests.helpers.dense import LetterEncoder
from tests.serving.conftest import DOCUMENTS
from tests.serving.expanding import ExpandingEncoder

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
    # Playwright's own event loop leaves sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Running:
    """An application in a thread, on a free port."""

    def __init__(self, app: Any) -> None:
        self.socket = server.bind("127.0.0.1", 0)
        self.url = server.url_of(self.socket)
        self.server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))

    def __enter__(self) -> Self:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()


@pytest.fixture(scope="module")
def expanding_path(tmp_path_factory: pytest.TempPathFactory, encoder: LexicalEncoder) -> Path:
    """An index whose documents and queries have added terms."""
    root = tmp_path_factory.mktemp("page")
    expanding = ExpandingEncoder(encoder, {"bowl": "network", "york": "edison"})
    encode_collection(expanding, DOCUMENTS, root / "vectors")
    build_index(root / "vectors", root / "index", corpus=DOCUMENTS).close()
    return root / "index"


@pytest.fixture(scope="module")
def tracing_path(tmp_path_factory: pytest.TempPathFactory, encoder: LexicalEncoder) -> Path:
    """The same, that kept where its terms come from."""
    root = tmp_path_factory.mktemp("tracing")
    expanding = ExpandingEncoder(encoder, {"bowl": "network", "york": "edison"})
    encode_collection(expanding, DOCUMENTS, root / "vectors", config=EncodeConfig(positions=True))
    build_index(root / "vectors", root / "index", corpus=DOCUMENTS).close()
    return root / "index"


@pytest.fixture(scope="module")
def url(
    expanding_path: Path,
    tracing_path: Path,
    index_path: Path,
    pruned_path: Path,
    encoder: LexicalEncoder,
) -> Iterator[str]:
    expanding = ExpandingEncoder(encoder, {"bowl": "network", "york": "edison"})
    engines = [
        Engine(IndexFolder.open(expanding_path), expanding, name="toy", examples=["super bowl"]),
        Engine(IndexFolder.open(tracing_path), expanding, name="traced"),
        Engine.open(index_path, name="zebra"),
        Engine.open(pruned_path, name="pruned"),
    ]
    with Running(create_app(ServeSettings(access_log=False), engines=engines)) as running:
        yield running.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def context(browser: Any, url: str) -> Iterator[Any]:
    made = browser.new_context(base_url=url)
    made.set_default_timeout(15_000)
    yield made
    made.close()


@pytest.fixture
def page(context: Any, url: str) -> Iterator[Any]:
    """A fresh page that fails its test on any script error, message or foreign request."""
    made = context.new_page()
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    made.on("request", lambda r: problems.append(r.url) if not r.url.startswith(url) else None)
    made.goto("/?index=toy")
    made.wait_for_selector("#welcome:not([hidden])")
    yield made
    made.close()
    assert [p for p in problems if "Failed to load resource" not in p] == []


def search(page: Any, query: str) -> None:
    page.fill("#q", query)
    page.wait_for_function("() => document.querySelector('#status').textContent")
    page.wait_for_selector(".hit")


def texts(page: Any, selector: str) -> list[str]:
    found: list[str] = page.locator(selector).all_inner_texts()
    return found


def test_search_as_you_type(page: Any) -> None:
    assert "5 documents" in page.inner_text("#welcome")
    page.locator("#q").press_sequentially("super bowl")
    # Not what the first letters found.
    page.wait_for_function(
        "() => document.querySelectorAll('.hit .passage mark.original').length >= 2"
        " && document.querySelectorAll('.hit').length === 3"
    )
    assert texts(page, ".title")[0] == "Super Bowl 50"
    assert page.inner_text("#status") == "3 best of 5 documents"
    assert "q=super+bowl" in page.url
    assert {t.lower() for t in texts(page, ".hit:first-child .passage mark.original")} == {
        "super",
        "bowl",
    }
    # The encoder added "network" to the query; the text shows it, in the other colour.
    assert texts(page, ".hit:first-child .passage mark.added") == ["network"]
    bars = page.locator(".hit:first-child .bars li")
    tokens = {
        texts(page, f".hit:first-child .bars li:nth-child({n}) .token")[0]: n for n in (1, 2, 3)
    }
    assert set(tokens) == {"super", "bowl", "network"}
    assert "added" in bars.nth(tokens["network"] - 1).get_attribute("class")
    assert "original" in bars.nth(tokens["bowl"] - 1).get_attribute("class")


def test_an_added_term_shows_where_it_comes_from(page: Any) -> None:
    page.goto("/?index=traced&q=edison")
    page.wait_for_selector(".hit")
    item = page.locator(".hit", has_text="Tesla moved")
    bar = item.locator(".bars li")
    assert "it comes from “York”" in bar.get_attribute("title")
    mark = item.locator(".passage mark")
    assert mark.all_inner_texts() == ["York"]
    assert item.locator("mark.from").count() == 0
    bar.hover()
    assert item.locator("mark.from").all_inner_texts() == ["York"]
    page.locator("#q").hover()
    assert item.locator("mark.from").count() == 0


def test_an_example_is_one_click(page: Any) -> None:
    page.click(".examples button")
    page.wait_for_selector(".hit")
    assert page.input_value("#q") == "super bowl"


def test_marks_stand_right_behind_characters_of_two_units(page: Any) -> None:
    search(page, "stanford fans")
    assert texts(page, ".hit:first-child .passage mark") == ["Fans"]


def test_keyboard_alone(page: Any) -> None:
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type("super bowl")
    page.wait_for_selector(".hit")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.querySelector('.rank').textContent") == "2"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    rows = page.locator(".hit.open table tbody tr")
    rows.first.wait_for()
    shares = [float(t.split()[-1]) for t in rows.all_inner_texts()]
    total = float(page.inner_text(".hit.open table tfoot td"))
    assert sum(shares) == pytest.approx(total, abs=0.002)
    page.wait_for_selector(".metadata dt")
    assert "2016" in page.inner_text(".metadata")
    page.keyboard.press("Escape")
    assert page.locator(".hit.open").count() == 0
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Escape")
    page.wait_for_selector("#welcome:not([hidden])")
    assert page.input_value("#q") == ""
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    assert page.locator("#help-dialog[open]").count() == 1
    page.keyboard.press("Escape")


def test_terms_are_weighed_left_out_and_added(page: Any) -> None:
    search(page, "super york")
    before = dict(zip(texts(page, ".hit .title"), texts(page, ".hit .score"), strict=True))
    page.click(".chip .name:has-text('york')")
    with page.expect_response("**/search") as answer:
        page.click(".chip .step[title='Weigh up']")
    assert answer.value.request.post_data_json["edit"]["boost"] == {"york": 2}
    page.wait_for_function(
        f"() => document.querySelector('.score').textContent !== '{max(before.values())}'"
    )
    with page.expect_response("**/search"):
        page.click(".chip .step[title='Leave out']")
    page.wait_for_selector(".chip.off")
    page.fill(".adder", "Normandy")
    with page.expect_response("**/search") as answer:
        page.press(".adder", "Enter")
    edit = answer.value.request.post_data_json["edit"]
    assert list(edit["add"]) == ["normandi"] and edit["drop"] == ["york"]
    page.wait_for_selector(".chip.mine")
    page.fill(".adder", "xylophone")
    page.press(".adder", "Enter")
    page.wait_for_function("() => document.querySelector('.adder').validationMessage")
    page.click("text=Undo edits")
    page.wait_for_function("() => !document.querySelector('.chip.off, .chip.mine')")
    after = dict(zip(texts(page, ".hit .title"), texts(page, ".hit .score"), strict=True))
    assert after == before


def test_the_copied_command_asks_the_same(page: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    search(page, "edison's network")
    page.click("#curl")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("curl -s 'http://127.0.0.1:")
    body = command.split("-d ")[1].strip()[1:-1].replace("'\\''", "'")
    assert json.loads(body)["query"] == "edison's network"


def test_the_encode_view_shows_shown_and_added_terms(page: Any) -> None:
    page.click("#tab-encode")
    page.click("text=As a document")
    page.fill("#text", "The Super Bowl")
    page.wait_for_selector("#weights li")
    assert texts(page, "#shaded mark") == ["Super", "Bowl"]
    assert texts(page, "#weights li.added .token") == ["network"]
    assert page.inner_text("#encode-summary").startswith("3 terms, 1 of them added")
    page.click("#tab-search")
    search(page, "normans")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("e")
    page.wait_for_selector("#view-encode:not([hidden])")
    assert "Normandy" in page.input_value("#text")


def test_nothing_found_and_errors_are_told(page: Any) -> None:
    page.fill("#q", "zzz")
    page.wait_for_selector("#summary:not([hidden])")
    assert page.inner_text("#status") == "The encoder knows no word of this query."
    page.route("**/search", lambda route: route.abort())
    page.fill("#q", "super")
    page.wait_for_selector("#problem:not([hidden])")
    assert "does not answer" in page.inner_text("#problem")
    page.unroute("**/search")
    search(page, "super b")
    assert page.locator("#problem:not([hidden])").count() == 0


def test_a_link_brings_everything_back(page: Any) -> None:
    page.goto("/?q=normandy&index=zebra&k=5")
    page.wait_for_selector(".hit")
    assert page.input_value("#index") == "zebra"
    assert page.input_value("#k") == "5"
    assert texts(page, ".title") == ["Normans"]


def test_parameters_and_comparison_where_the_layout_has_them(page: Any) -> None:
    assert page.is_hidden("#compare-field")
    page.select_option("#index", "pruned")
    search(page, "super new york")
    page.click("#tuning summary")
    page.check("#compare")
    page.wait_for_selector("#comparison:not([hidden])")
    assert page.inner_text("#comparison").startswith("overlap@10 with exact search: 0.")
    with page.expect_response("**/search") as answer:
        page.locator("[data-name=query_cut]").fill("1")
    assert answer.value.request.post_data_json["params"] == {"query_cut": 1}
    assert answer.value.json()["params"]["query_cut"] == 1


def test_filters_where_there_are_fields(
    browser: Any, encoder: LexicalEncoder, tmp_path: Path
) -> None:
    encoder.save_query_side(tmp_path / "side")
    names = {"encoder": "lexical", "idf": "query", "query_encoder": tmp_path / "side"}
    with Collection.create(tmp_path / "live", encoder.vocabulary, **names) as live:
        live.upsert(DOCUMENTS, encoder.encode_documents([d.content for d in DOCUMENTS]))
    app = create_app(ServeSettings(access_log=False), [IndexSource("live", tmp_path / "live")])
    with Running(app) as running:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{running.url}/?q=super+network")
        page.wait_for_selector(".hit")
        assert page.locator(".hit").count() == 3
        page.click("#tuning summary")
        assert page.inner_text("#filter-fields") == "year (number), tags (string)"
        page.fill("#filter", '{"equals": {"year"')
        page.wait_for_selector("#filter:invalid")
        page.fill("#filter", '{"equals": {"year": 2016}}')
        page.wait_for_function("() => document.querySelectorAll('.hit').length === 1")
        page.fill("#filter", '{"equals": {"yeer": 2016}}')
        page.wait_for_selector("#problem:not([hidden])")
        assert "year" in page.inner_text("#problem")
        context.close()


def test_hybrid_search_where_there_is_a_dense_half(
    browser: Any, index_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(dense_folder, "DenseEncoder", LetterEncoder)
    path = Path(shutil.copytree(index_path, tmp_path / "both"))
    with IndexFolder.open(path) as folder:
        add_dense(folder, LetterEncoder(path))
    sources = [IndexSource("both", path), IndexSource("toy", index_path)]
    with Running(create_app(ServeSettings(access_log=False), sources)) as running:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{running.url}/?q=super+bowl&index=both")
        page.wait_for_selector(".hit")
        assert page.locator(".hit .halves").count() == 0
        page.click("#tuning summary")
        assert page.inner_text("#dense-name") == "with letters"
        assert not page.is_visible("#fusion")
        page.check("#hybrid")
        page.wait_for_selector(".hit .halves")
        # The dense half ranks every document, the sparse one those with a word of the query.
        assert page.locator(".hit").count() == 5
        shown = texts(page, ".halves")
        assert "sparse 1st with" in shown[0] and "dense" in shown[0]
        assert any("sparse did not find it" in line for line in shown)
        assert page.is_visible("#dense-key")
        with page.expect_response("**/search") as answer:
            page.locator("#dense-share").fill("1")
        hybrid = answer.value.request.post_data_json["hybrid"]
        assert hybrid == {"fusion": "rrf", "weights": {"sparse": 0, "dense": 1}}
        with page.expect_response("**/search") as answer:
            page.select_option("#fusion", "convex")
        best = answer.value.json()["hits"][0]
        assert best["parts"]["dense"]["rank"] == 1 and best["score"] == 1
        page.wait_for_function("() => document.querySelector('.score').textContent === '1.0000'")
        page.keyboard.press("Escape")
        page.locator(".hit").first.focus()
        page.keyboard.press("Enter")
        assert "Sparse score" in page.inner_text(".hit.open tfoot")
        page.select_option("#index", "toy")
        page.wait_for_function("() => !document.querySelector('.halves')")
        assert not page.is_visible("#hybrid-field")
        context.close()


def test_more_results_behind_the_first(page: Any) -> None:
    page.select_option("#k", "5")
    search(page, "super new york network")
    first = texts(page, ".title")
    assert not page.is_visible("#more") or len(first) == 5
    page.evaluate("document.querySelector('#k').options[0].text = '2'")
    page.evaluate("document.querySelector('#k').dispatchEvent(new Event('change'))")
    page.wait_for_function("() => document.querySelectorAll('.hit').length === 2")
    assert texts(page, ".title") == first[:2]
    page.click("#more")
    page.wait_for_function("() => document.querySelectorAll('.hit').length === 4")
    assert texts(page, ".title") == first[:4]
    assert texts(page, ".rank") == ["1", "2", "3", "4"]
    assert page.evaluate("document.activeElement.querySelector('.rank').textContent") == "3"


def test_collections_that_come_while_the_page_is_open(browser: Any, tmp_path: Path) -> None:
    settings = ServeSettings(access_log=False, data=tmp_path / "data")
    with Running(create_app(settings)) as running:
        context = browser.new_context()
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(running.url)
        page.wait_for_selector("#welcome:not([hidden])")
        assert "Nothing to search yet" in page.inner_text("#welcome")
        with Client(running.url) as client:
            client.create("news", vocabulary=["super", "bowl"])
            page.focus("#index")
            page.wait_for_selector(
                "#index optgroup[label='Live collections'] option", state="attached"
            )
            assert page.input_value("#index") == "news"
            client.drop("news")
        assert problems == []
        context.close()


def test_documents_cannot_bring_markup(browser: Any, tmp_path: Path) -> None:
    evil = '<img src=x onerror="window.owned=1"> <script>window.owned=1</script> network'
    documents = [DOCUMENTS[0]._replace(doc_id="<b>x", title=evil, text=evil,
                                       metadata={"link": "javascript:window.owned=1"})]  # fmt: skip
    encoder = LexicalEncoder.fit([evil])
    encode_collection(encoder, documents, tmp_path / "vectors")
    build_index(tmp_path / "vectors", tmp_path / "index", corpus=documents).close()
    app = create_app(ServeSettings(access_log=False), [IndexSource("evil", tmp_path / "index")])
    with Running(app) as running:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{running.url}/?q=network")
        page.wait_for_selector(".hit")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_selector(".metadata dt")
        assert page.evaluate("window.owned") is None
        assert page.locator(".hit img, .hit script, .metadata a").count() == 0
        assert "<script>" in page.inner_text(".passage")
        context.close()


def enter_key(page: Any, key: str) -> None:
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", key)
    page.press("#key", "Enter")


def test_the_page_asks_for_a_key(browser: Any, index_path: Path, tmp_path: Path) -> None:
    ring, token = KeyRing().with_new("page", "read")
    ring.save(tmp_path / "keys.json")
    settings = ServeSettings(access_log=False, keys_file=tmp_path / "keys.json")
    with Running(create_app(settings, [IndexSource("toy", index_path)])) as running:
        context = browser.new_context()
        page = context.new_page()
        page.goto(running.url)
        page.wait_for_selector("#key-dialog[open]")
        assert not page.is_visible("#key-refused")
        # Who closes the dialog is asked again on the next try.
        page.keyboard.press("Escape")
        page.fill("#q", "super bowl")
        enter_key(page, "lsr_wrong")
        # The dialog closes when the key is sent, and comes back with the refusal.
        page.wait_for_selector("#key-refused:visible")
        assert "not known" in page.inner_text("#key-refused")
        enter_key(page, f" {token} ")
        page.wait_for_selector(".hit")
        assert page.input_value("#q") == "super bowl"
        context.close()


def test_a_late_refusal_of_the_key_before_is_no_reason_to_ask(
    browser: Any, index_path: Path, tmp_path: Path
) -> None:
    first, before = KeyRing().with_new("before", "read")
    second, after = KeyRing().with_new("after", "read")
    first.save(tmp_path / "keys.json")
    settings = ServeSettings(access_log=False, keys_file=tmp_path / "keys.json")
    with Running(create_app(settings, [IndexSource("toy", index_path)])) as running:
        context = browser.new_context()
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(running.url)
        enter_key(page, before)
        page.wait_for_selector("#welcome:not([hidden])")
        # Two requests carry the first key when it ends: one is held up, the other one's refusal
        # brings the dialog.
        held: list[Any] = []
        page.route("**/encode", lambda route: held.append(route), times=1)
        page.click("#tab-encode")
        with page.expect_request("**/encode"):
            page.fill("#text", "The Super Bowl")
        second.save(tmp_path / "keys.json")
        page.click("#tab-search")
        page.fill("#q", "super bowl")
        enter_key(page, after)
        page.wait_for_selector(".hit")
        # Now the late one is refused; it is asked again with the second key.
        held[0].continue_()
        page.wait_for_selector("#weights li, #key-dialog[open]", state="attached")
        assert page.locator("#key-dialog[open]").count() == 0
        assert page.locator(".hit").count() > 0 and problems == []
        context.close()


def test_contrast_and_names(page: Any) -> None:
    """Every control has a name, and text passes 4.5:1 in both themes."""
    search(page, "super bowl york")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, a')]
          .filter((e) => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim()
            || e.labels?.length || e.title)).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(50)
        assert page.evaluate(_CONTRAST) == []


_CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] > 250) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.closest('.toast, .skip, .hidden')) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}"""


def test_readable_on_a_phone(browser: Any, url: str) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    for path in ("/?q=super+bowl+network", "/docs", "/#encode"):
        page.goto(url + path)
        page.wait_for_timeout(250)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, path
    context.close()


def test_the_api_documentation_lists_every_route(page: Any) -> None:
    page.goto("/docs")
    page.wait_for_selector(".schema")
    calls = texts(page, ".call")
    assert "POST /v1/indexes/{name}/search" in [" ".join(c.split()) for c in calls]
    assert len(calls) == page.locator("#contents a").count() - 1


def test_a_word_and_its_stem_are_one_word(browser: Any, tmp_path: Path) -> None:
    pieces = load_encoder("lsr-tiny/learned")
    assert isinstance(pieces, Encoder)
    documents = [
        Document("a", "Kafka's studies of zebrafish, and zebrafish again."),
        Document("b", "A phone book of Prague."),
    ]
    fused = add_lexical(
        pieces, [d.text for d in documents], config=LexicalConfig(max_terms=6, buckets=50)
    )
    sources = []
    for name, positions in (("plain", False), ("traced", True)):
        vectors = tmp_path / f"{name}.vectors"
        encode_collection(fused, documents, vectors, config=EncodeConfig(positions=positions))
        build_index(vectors, tmp_path / name, corpus=documents).close()
        sources.append(IndexSource(name, tmp_path / name))
    with Running(create_app(ServeSettings(access_log=False), sources)) as running:
        made = browser.new_page(base_url=running.url)
        for name in ("plain", "traced"):
            made.goto(f"/?index={name}")
            made.wait_for_selector("#welcome:not([hidden])")
            search(made, "Kafka studies zebrafish")
            chips = [text.split("\n")[0] for text in texts(made, "#chips .chip .name")]
            assert sorted(chips) == ["kafka", "studies", "zebrafish"]
            bars = texts(made, ".hit:first-child .bars .token")
            assert sorted(bars) == ["kafka", "studies", "zebrafish"]
            titles = "\n".join(
                line.get_attribute("title") for line in made.locator(".hit .bars li").all()
            )
            for token in ("studies", "studi*", "##fish", "kafka*", "rare·4*"):
                assert f"{token}: query" in titles
            assert {"Kafka", "studies", "zebrafish"} <= set(texts(made, ".hit:first-child mark"))
        made.locator("#chips .name", has_text="zebrafish").click()
        made.get_by_label("Leave out zebrafish").click()
        made.wait_for_selector("#chips .chip.off")
        off = [text.split("\n")[0] for text in texts(made, "#chips .chip.off .name")]
        assert off == ["zebrafish"]
        made.goto("/?index=plain#encode")
        made.fill("#text", "zebrafish")
        made.wait_for_selector("#shaded mark")
        assert texts(made, "#shaded mark") == ["zebrafish"]
        made.locator("#weights li", has_text="##fish").hover()
        made.wait_for_selector("#shaded mark.pointed")
        made.close()


def test_word_pieces_are_shown_as_words(browser: Any, tmp_path: Path) -> None:
    pieces = load_encoder("lsr-mini")
    assert isinstance(pieces, Encoder)
    documents = [
        Document("a", "The novels of Franz Kafka, and what Kafka's phonographs played."),
        Document("b", "A phone book of Prague."),
    ]
    encode_collection(pieces, documents, tmp_path / "vectors")
    build_index(tmp_path / "vectors", tmp_path / "index", corpus=documents).close()
    settings = ServeSettings(access_log=False)
    with Running(create_app(settings, [IndexSource("k", tmp_path / "index")])) as running:
        made = browser.new_page(base_url=running.url)
        made.goto("/")
        made.wait_for_selector("#welcome:not([hidden])")
        search(made, "Kafka phonographs Prague")
        chips = [text.split("\n")[0] for text in texts(made, "#chips .chip .name")]
        assert {"kafka", "phonographs", "prague"} <= set(chips)
        assert not any("##" in chip for chip in chips if chip in ("kafka", "phonographs"))
        assert {"Kafka", "phonographs"} <= set(texts(made, ".hit:first-child mark"))
        bars = texts(made, ".hit:first-child .bars .token")
        assert {"kafka", "phonographs"} <= set(bars)
        # What a chip's buttons change, they change for all of its pieces.
        made.locator("#chips .name", has_text="kafka").click()
        made.get_by_label("Leave out kafka").click()
        made.wait_for_selector("#chips .chip.off")
        made.wait_for_function(
            "() => ![...document.querySelectorAll('.hit mark')].some(m => m.innerText == 'Kafka')"
        )
        made.close()
