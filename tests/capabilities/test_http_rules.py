from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.clock import ManualClock
from dataflare.capabilities.http_body import read_body
from dataflare.capabilities.http_rules import Deadline, RateLimiter, check_headers, is_method, parse_url
from dataflare.grants import HttpGrant

MS = 10**6


@pytest.mark.parametrize(
    ("text", "origin", "target"),
    [
        ("https://a.test", "https://a.test", "/"),
        ("https://A.test:443?q=1", "https://a.test", "/?q=1"),
        ("HTTP://a.test:81/x/../y?a=b&c[]=%20#part", "http://a.test:81", "/x/../y?a=b&c[]=%20"),
        ("http://[::1]:81/@:;", "http://[::1]:81", "/@:;"),
    ],
)
def test_url_is_taken_apart(text, origin, target):
    url = parse_url(text)
    assert (str(url.origin), url.target) == (origin, target)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a.test/x", "/x", "//a.test/x", "ftp://a.test/", "file:///etc/passwd", "javascript:alert(1)", "https:/a"),
        *("https://", "https:///x", "https://a.test:99999/", "https://a.test:8 0/", "https://a.test:/"),
        *("https://u@a.test/", "https://u:p@a.test/", "https://a.test@b.test/", "https://a.test%40b.test/"),
        *("https://a.test\\@b.test/", "https://a.test\\b", "https://a.test/\r\nhost: b", "https://a.test/ x"),
        *("https://a.test/\t", " https://a.test/", "https://a.test/\0", "https://a.test/é", "https://é.test/"),
        *("https://a.test/<x>", 'https://a.test/"', "https://a.test/{x}", "https://a.test/x|y", "https://127.1/"),
        "https://a.test/" + "x" * 8192,
    ],
)
def test_url_that_can_be_misread_is_refused(text):
    with pytest.raises(CapabilityFailure) as caught:
        parse_url(text)
    assert caught.value.case == "invalid-request"


def test_refusal_of_a_url_shows_no_password():
    with pytest.raises(CapabilityFailure) as caught:
        parse_url("https://user:hunter2@a.test/?token=hunter3")
    assert "hunter" not in str(caught.value)


@given(st.builds("https://a.test{}{}".format, st.sampled_from("/?#:@\\\t"), st.text(max_size=60)))
def test_no_text_behind_a_host_leads_to_another(text):
    try:
        url = parse_url(text)
    except CapabilityFailure as failure:
        assert failure.case == "invalid-request"
        return
    assert url.target.startswith("/") and url.target.isascii() and url.target.isprintable()
    assert url.origin.host == "a.test"
    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/y", "https://a.test/y"),
        ("y", "https://a.test/x/y"),
        ("?q", "https://a.test/x/z?q"),
        ("//b.test/y", "https://b.test/y"),
        ("http://b.test:81/y#part", "http://b.test:81/y"),
        ("/a b\xe9|", "https://a.test/a%20b%C3%A9%7C"),
        ("/a%20b", "https://a.test/a%20b"),
    ],
)
def test_redirect_is_read_relative_to_its_request(location, target):
    assert str(parse_url("https://a.test/x/z?old=1").follow(location)) == target


@pytest.mark.parametrize("location", ["ftp://b.test/", "https://u:p@b.test/", "https://b.test\\@a.test/", "http://["])
def test_redirect_to_what_is_no_url_fails(location):
    with pytest.raises(CapabilityFailure) as caught:
        parse_url("https://a.test/").follow(location)
    assert caught.value.case == "other"


def test_query_is_not_shown():
    assert parse_url("https://a.test/x?token=hunter2").shown == "https://a.test/x"


@pytest.mark.parametrize(
    ("text", "good"), [("GET", True), ("M-SEARCH", True), ("get", False), ("", False), ("A B", False), ("A\r\n", False)]
)
def test_methods_are_in_capitals(text, good):
    assert is_method(text) is good


def test_names_of_headers_come_in_lower_case_and_in_order():
    headers = [("Accept", "a"), ("X-A", "1"), ("x-a", "2"), ("Prefer", "")]
    grant = HttpGrant(request_headers=["accept", "x-a", "prefer"])
    assert check_headers(headers, grant) == [("accept", "a"), ("x-a", "1"), ("x-a", "2"), ("prefer", "")]


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é", "a\0", "a" * 129, "(a)"])
def test_name_that_is_no_header_is_refused(name):
    with pytest.raises(CapabilityFailure) as caught:
        check_headers([(name, "x")], HttpGrant(request_headers="any"))
    assert caught.value.case == "invalid-request"


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\rb", "a\0b", " a", "a ", "\t", "\x7f", "é", "a\x85b"])
def test_value_that_could_end_a_header_is_refused_and_not_shown(value):
    with pytest.raises(CapabilityFailure) as caught:
        check_headers([("accept", value)], HttpGrant(request_headers="any"))
    assert caught.value.case == "invalid-request"
    assert repr(value)[1:-1] not in str(caught.value) or len(value) < 3


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Host",
            "content-length",
            "Transfer-Encoding",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "upgrade",
            "expect",
        ),
        *("accept-encoding", "proxy-authorization", "Proxy-Connection", "x-forwarded-for", "forwarded", "via", "X-Key"),
    ],
)
def test_header_of_the_host_is_refused_even_where_any_is_granted(name):
    with pytest.raises(CapabilityFailure) as caught:
        check_headers([(name, "x")], HttpGrant(request_headers="any", secrets={"x-key": "key"}))
    assert caught.value.case == "denied"


@pytest.mark.parametrize("name", ["authorization", "cookie", "x-api-key", "referer", "origin"])
def test_header_that_is_not_granted_is_refused(name):
    with pytest.raises(CapabilityFailure) as caught:
        check_headers([(name, "x")], HttpGrant())
    assert caught.value.case == "denied"
    assert check_headers([(name, "x")], HttpGrant(request_headers="any")) == [(name, "x")]


@pytest.mark.parametrize(
    "name",
    [
        *("access-control-request-method", "api-version", "content-disposition", "content-location", "depth", "from"),
        *("if", "last-event-id", "link", "max-forwards", "mcp-protocol-version", "ocp-apim-subscription-key"),
        *("origin", "private-token", "referer", "sec-fetch-site", "soapaction", "traceparent", "x-amz-security-token"),
        *("x-amz-target", "x-auth-token", "x-client-id", "x-client-version", "x-csrf-token", "x-github-api-version"),
        *("x-goog-user-project", "x-membership", "x-ms-client-request-id", "x-request-id", "x-requested-with"),
        *("x-tenant-id", "x-transcript", "x-user-id", "x-zip"),
    ],
)
def test_header_that_claims_nothing_is_among_any(name):
    assert check_headers([(name, "x")], HttpGrant(request_headers="any")) == [(name, "x")]


@pytest.mark.parametrize("name", ["x-http-method-override", "destination", "x-ms-copy-source", "impersonate-user"])
def test_header_that_names_another_target_can_be_granted_by_name(name):
    assert check_headers([(name, "x")], HttpGrant(request_headers=[name])) == [(name, "x")]


@pytest.mark.parametrize("headers", [[("a", "b")] * 101, [("a", "b" * 65_536)]])
def test_too_many_headers_are_refused(headers):
    with pytest.raises(CapabilityFailure) as caught:
        check_headers(headers, HttpGrant(request_headers="any"))
    assert caught.value.case == "invalid-request"


def test_deadline_passes_with_its_limit():
    clock = ManualClock()
    deadline = Deadline(clock, 100)
    clock.advance(99 * MS)
    assert deadline.remaining_s() == pytest.approx(0.001)
    clock.advance(1 * MS)
    with pytest.raises(CapabilityFailure) as caught:
        deadline.remaining_s()
    assert (caught.value.case, caught.value.error.value) == ("timed-out", 100)


def test_earlier_deadline_counts():
    clock = ManualClock()
    deadline = Deadline(clock, 100)
    assert (deadline.within(200).limit_ms, deadline.within(50).limit_ms) == (100, 50)
    clock.advance(80 * MS)
    assert deadline.within(50) is deadline


def test_rate_is_a_burst_and_what_fills_up():
    clock = ManualClock()
    limiter = RateLimiter(clock, per_s=10, burst=3)
    assert [_waits_ms(limiter) for _ in range(4)] == [0, 0, 0, 101]
    clock.advance(50 * MS)
    assert _waits_ms(limiter) == 51
    clock.advance(50 * MS)
    assert [_waits_ms(limiter), _waits_ms(limiter)] == [0, 101]
    clock.advance(10**12)
    assert [_waits_ms(limiter) for _ in range(4)] == [0, 0, 0, 101]


def test_wait_that_is_told_is_long_enough():
    clock = ManualClock()
    limiter = RateLimiter(clock, per_s=0.7, burst=1)
    limiter.take()
    clock.advance(_waits_ms(limiter) * MS)
    assert _waits_ms(limiter) == 0


def _waits_ms(limiter: RateLimiter) -> int:
    try:
        limiter.take()
    except CapabilityFailure as failure:
        assert failure.case == "rate-limited"
        return failure.error.value
    return 0


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.binary(max_size=500), st.integers(1, 50), st.integers(1, 3))
def test_compressed_body_comes_out_however_it_is_cut(data, size, members):
    encoded = b"".join(gzip.compress(data, mtime=0) for _ in range(members)) + b"\0" * (size % 4)
    limit = max(len(encoded), len(data) * members)
    assert read_body(cut(encoded, size), limit=limit, encoding="gzip") == data * members


@pytest.mark.parametrize("encoding", ["", "identity", "br", "gzip, gzip"])
def test_body_that_is_not_known_to_be_compressed_is_taken_as_it_is(encoding):
    assert read_body([b"ab", b"", b"c"], limit=3, encoding=encoding) == b"abc"


def test_body_may_have_as_many_bytes_as_its_limit():
    assert read_body([b"abc", b"d"], limit=4) == b"abcd"
    with pytest.raises(CapabilityFailure) as caught:
        read_body([b"abc", b"de"], limit=4)
    assert (caught.value.case, caught.value.error.value) == ("too-large", 4)


def test_body_over_its_limit_is_not_read_on():
    taken = []

    def chunks():
        for number in range(1000):
            taken.append(number)
            yield b"x" * 100

    with pytest.raises(CapabilityFailure):
        read_body(chunks(), limit=1000)
    assert len(taken) == 11


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_bomb_is_stopped_at_the_limit_without_being_held(size):
    bomb = gzip.compress(b"\0" * 200_000_000, 9)
    assert len(bomb) < 200_000
    tracemalloc.start()
    with pytest.raises(CapabilityFailure) as caught:
        read_body(cut(bomb, 65_536), limit=max(size, len(bomb)), encoding="gzip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.case == "too-large"
    assert peak < 4_000_000


def test_empty_members_count_with_what_they_take():
    with pytest.raises(CapabilityFailure) as caught:
        read_body(cut(gzip.compress(b"") * 10_000, 65_536), limit=100_000, encoding="gzip")
    assert caught.value.case == "too-large"


def test_compressed_body_that_ends_too_early_is_no_body():
    with pytest.raises(CapabilityFailure) as caught:
        read_body([gzip.compress(b"hello" * 100)[:-4]], limit=1000, encoding="gzip")
    assert caught.value.case == "connection-failed"


@pytest.mark.parametrize("data", [b"hello", zlib.compress(b"hello"), gzip.compress(b"hello", mtime=0) + b"trash"])
def test_broken_compression_fails(data):
    with pytest.raises(CapabilityFailure) as caught:
        read_body([data], limit=1000, encoding="gzip")
    assert caught.value.case == "other"


def test_no_body_is_no_broken_one():
    assert read_body([], limit=10, encoding="gzip") == b""
