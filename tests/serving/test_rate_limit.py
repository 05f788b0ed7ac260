"""Limits by caller: beside a plain bucket, in many processes, over HTTP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from serving.app import create_app
from serving.keys import KeyRing
from serving.rate_limit import RateLimiter, caller_of_address
from serving.settings import IndexSource, ServeSettings


class Bucket:
    """The plain definition: so many tokens at most, so many more a second, one a request."""

    def __init__(self, per_s: float, burst: int) -> None:
        self.per_s, self.burst = per_s, burst
        self.tokens, self.at = float(burst), 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.per_s)
        self.at = now
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens -= 1
        return True


@given(
    per_s=st.sampled_from([0.5, 2.0, 16.0]),
    burst=st.integers(1, 5),
    # Steps that binary fractions hold exactly: no request stands on a knife's edge by rounding.
    steps=st.lists(st.integers(0, 40), max_size=60),
)
def test_it_lets_through_what_a_bucket_does(per_s: float, burst: int, steps: list[int]) -> None:
    now = 0.0
    limiter, bucket = RateLimiter(per_s, burst, now=lambda: now), Bucket(per_s, burst)
    for step in steps:
        now += step / 32
        wait = limiter.take("a")
        assert (wait == 0) == bucket.take(now)
        if wait:
            bucket_wait = (1 - bucket.tokens) / per_s
            assert wait == pytest.approx(bucket_wait, abs=1e-6)
    limiter.close()


def test_callers_do_not_share(tmp_path: Path) -> None:
    limiter = RateLimiter(1, 1, path=tmp_path / "limits", now=lambda: 5.0)
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    assert limiter.take("b") == 0
    # Another process of the service, here another mapping of the file.
    other = RateLimiter(1, 1, path=tmp_path / "limits", now=lambda: 5.0)
    assert other.take("a") > 0
    assert other.take("c") == 0
    assert limiter.take("c") > 0
    limiter.close()
    other.close()


def test_processes_at_once_never_let_through_more_than_one_would(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from serving.rate_limit import RateLimiter\n"
        "limiter = RateLimiter(1e-6, 100, path=Path(sys.argv[1]))\n"
        "print(sum(limiter.take('a') == 0 for _ in range(3000)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "limits")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(process.communicate(timeout=60)[0]) for process in processes) == 100


def test_many_callers_push_out_only_those_that_rested() -> None:
    now = 0.0
    limiter = RateLimiter(1, 10, now=lambda: now)
    for _ in range(10):
        limiter.take("busy")
    for number in range(100_000):
        limiter.take(f"caller {number}")
    # Ten requests deep, it is the last of its set to go.
    assert limiter.take("busy") > 0
    limiter.close()


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "testclient"),
    ],
)
def test_who_asks(host: str, caller: str) -> None:
    assert caller_of_address(host) == caller


def test_over_http_with_keys(index_path: Path, tmp_path: Path) -> None:
    ring, one = KeyRing().with_new("one", "read")
    ring, two = ring.with_new("two", "read")
    ring.save(tmp_path / "keys.json")
    settings = ServeSettings(
        allowed_hosts=("testserver",), keys_file=tmp_path / "keys.json", rate=0.01, rate_burst=3
    )
    search = "/v1/indexes/toy/search?q=edison"
    with TestClient(create_app(settings, [IndexSource("toy", index_path)])) as client:

        def ask(key: str | None) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return client.get(search, headers=headers).status_code

        assert [ask(one) for _ in range(5)] == [200, 200, 200, 429, 429]
        assert ask(two) == 200
        # Invented keys count for the address they come from.
        assert [ask(f"invented {n}") for n in range(5)] == [401, 401, 401, 429, 429]
        assert ask(two) == 200
        refused = client.get(search, headers={"Authorization": f"Bearer {one}"})
        assert refused.json()["error"]["code"] == "rate_limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 100
        # Whoever watches the service is not limited.
        assert {client.get("/readyz").status_code for _ in range(10)} == {200}
        documented = client.get("/openapi.json").json()["paths"]
        answers = documented["/v1/indexes/{name}/search"]["get"]["responses"]
        assert "Retry-After" in answers["429"]["headers"]
