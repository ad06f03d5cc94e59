from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.visits import Visit, host_of, visit_of

PAGE = "https://www.shop.example/a?q=ann@example.org"


@pytest.mark.parametrize(
    ("url", "referrer", "channel", "host"),
    [
        (PAGE, None, "direct", None),
        (PAGE, "", "direct", None),
        (None, None, None, None),
        (PAGE, "https://shop.example/b", "direct", None),
        (PAGE, "https://blog.shop.example/b", "direct", None),
        (PAGE, "https://myshop.example/b", "referral", "myshop.example"),
        (PAGE, "https://www.google.co.uk/search?q=secret", "search", "google.co.uk"),
        (PAGE, "https://google.com", "search", "google.com"),
        (PAGE, "https://de.search.yahoo.com/", "search", "de.search.yahoo.com"),
        (PAGE, "https://google.example.org/", "referral", "google.example.org"),
        (PAGE, "https://mail.google.com/", "email", "mail.google.com"),
        (PAGE, "https://l.facebook.com/x", "social", "l.facebook.com"),
        (PAGE, "https://notfacebook.com/x", "referral", "notfacebook.com"),
        (PAGE, "android-app://com.google.android.gm", "email", "com.google.android.gm"),
        (None, "https://HN.example:8080/x", "referral", "hn.example"),
        (PAGE, "http://[broken", "direct", None),
        (PAGE, "no address", "direct", None),
        (f"{PAGE}&utm_medium=CPC", "https://google.com", "paid", "google.com"),
        (f"{PAGE}&utm_medium=paid_social", None, "paid", None),
        (f"{PAGE}&utm_medium=newsletter", None, "email", None),
        (f"{PAGE}&utm_medium=social", None, "social", None),
        (f"{PAGE}&utm_medium=organic", None, "search", None),
        (f"{PAGE}&utm_medium=affiliate", None, "referral", None),
        (f"{PAGE}&utm_medium=poster", "https://google.com", "campaign", "google.com"),
        (f"{PAGE}&utm_source=poster", None, "campaign", None),
        (f"{PAGE}&utm_medium=", None, "direct", None),
    ],
)
def test_the_channel_of_a_visit(url: str | None, referrer: str | None, channel: str | None, host: str | None) -> None:
    found = visit_of(url, referrer)
    assert (found.channel, found.referrer_host) == (channel, host)


def test_the_campaign_is_what_the_address_says() -> None:
    url = f"{PAGE}&utm_campaign=spring+sale&utm_source=News%20letter&utm_medium=email&utm_campaign=other&utm_term=x#utm"
    assert visit_of(url, None) == Visit("spring sale", "News letter", "email", None, "email")


@given(url=st.text() | st.text().map("https://a.example/?utm_source=".__add__), referrer=st.text())
def test_any_text_is_taken_and_no_more_than_host_and_tags_is_kept(url: str, referrer: str) -> None:
    visit_of(url, referrer)
    assert host_of(f"https://a.example/{url}") in ("a.example", None)
