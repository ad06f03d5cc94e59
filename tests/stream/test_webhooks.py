from __future__ import annotations

import pytest

from live_api.delivery.bodies import BODIES, Wanted, line
from sinks.alert_records import Change, Severity
from stream.catalog import parse
from stream.problems import CatalogError
from stream.webhooks import FORMATS, SEVERITIES, TEMPLATE_FIELDS, Webhook
from tests.alerts import notification

METRIC = '[[metric]]\nname = "edits"\nmeasure = "count"\n'


def webhook(text: str) -> Webhook:
    [made] = parse(f"{METRIC}[[webhook]]\n{text}\n").webhook
    return made


def problem(text: str) -> str:
    with pytest.raises(CatalogError) as error:
        parse(f"{METRIC}[[webhook]]\n{text}\n", "c.toml")
    return str(error.value)


def test_a_url_is_enough() -> None:
    made = webhook('url = "https://ops.example/hooks/x"')
    assert made.endpoint == "ops.example"
    assert (made.format, made.severity, made.concurrency, made.timeout_s) == ("generic", "info", 4, 10.0)


def test_pagerduty_needs_its_key_and_no_url() -> None:
    assert webhook('format = "pagerduty"\nsecret_env = "PD"').endpoint == "events.pagerduty.com"
    assert "webhook[0].secret_env: expected the variable that has the routing key" in problem('format = "pagerduty"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"', 'webhook[0] "x".url: expected a URL, or the variable that has it as `url_env`; found nothing'),
        ('url = "https://a.example"\nurl_env = "U"', "found both"),
        ('url_env = "U"', "webhook[0].name: expected a name, as `url_env` gives none; found nothing"),
        ('url = "http://a.example"', "begins with https://; found http:// (`allow_http = true` allows it)"),
        ('url = "ftp://a.example"', "found ftp://"),
        ('url = "a.example/x"', "found none"),
        ('url = "hunter2:a.example/x"', "found another scheme"),
        ('url = "https://"', "a URL with a host"),
        ('url = "https://me:hunter2@a.example/x"', "no user or password in the URL"),
        ('url = "https://@a.example/x"', "no user or password in the URL"),
        ('url = "https://a.example/x y"', "without spaces"),
        ('url = "https://a.example\\\\@127.0.0.1/"', "backslashes"),
        ('url = "https://a.example:99999/"', "a URL such as https://ops.example/hooks"),
        ('url = "https://169.254.169.254/latest/meta-data"', "found 169.254.169.254, which is link-local"),
        ('url = "https://127.0.0.1/"', "which is loopback"),
        ('url = "https://2130706433/"', "which is loopback"),
        ('url = "https://0x7f.1/"', "which is loopback"),
        ('url = "https://0177.0.0.1/"', "which is loopback"),
        ('url = "https://[::1]/"', "which is loopback"),
        ('url = "https://[::ffff:10.0.0.1]/"', "which is private"),
        ('url = "https://[fe80::1%25eth0]/"', "expected a"),
        ('url = "https://a.example"\nsecret_env = "a b"', "secret_env"),
        ('url = "https://a.example"\nsecret_env = "A"\nsecret_file = "b"', "found both"),
        ('url = "https://a.example"\ntimeout = "2m"', "expected a duration from 1s to 60s; found '2m'"),
        ('url = "https://a.example"\nconcurrency = 0', "concurrency"),
        ('url = "https://a.example"\nseverity = "loud"', "severity"),
        ('url = "https://a.example"\nallow_private = ["10.0.0.1/8"]', "expected a network such as 10.0.0.0/8"),
        ('url = "https://a.example"\nheaders = { "Host" = "H" }', "found 'Host'"),
        ('url = "https://a.example"\nheaders = { "webhook-id" = "H" }', "found 'webhook-id'"),
        ('url = "https://a.example"\nheaders = { "a b" = "H" }', "found 'a b'"),
        ('url = "https://a.example"\ntemplate = "{alert.rul}"', "found {alert.rul} (did you mean {alert.rule}?)"),
        ('url = "https://a.example"\ntemplate = "{}"', "found {}"),
        ('url = "https://a.example"\ntemplate = "{alert.__class__}"', "found {alert.__class__}"),
        ('url = "https://a.example"\ntemplate = "{alert.rule!r}"', "found {alert.rule!r}"),
        ('url = "https://a.example"\ntemplate = "{alert.rule"', "expected braces in pairs"),
        ('url = "https://a.example"\ntemplate = "x"\nformat = "alertmanager"', "a shape of its own"),
        ('url = "https://a.example"\nsecret = "hunter2"', "unknown key 'secret'"),
        ('url = "https://a.example"\nsecret_enf = "A"', "did you mean secret_env?"),
    ],
)
def test_what_is_wrong_is_said_by_its_key(text: str, said: str) -> None:
    message = problem(text)
    assert said in message
    assert message.startswith("c.toml: webhook[0]")
    assert "hunter2" not in message


def test_what_is_allowed_is() -> None:
    made = webhook('url = "http://10.1.2.3:8080/x"\nallow_http = true\nallow_private = ["10.0.0.0/8"]')
    assert [str(network) for network in made.networks] == ["10.0.0.0/8"]


def test_two_of_a_name_are_refused() -> None:
    two = '[[webhook]]\nurl = "https://a.example/1"\n[[webhook]]\nurl = "https://a.example/2"\n'
    with pytest.raises(CatalogError, match=r"webhook\[1\].name: expected each name once.*'a.example' again"):
        parse(METRIC + two)


def test_severities_and_formats_are_those_of_the_records_and_bodies() -> None:
    assert list(SEVERITIES) == [severity.value for severity in Severity]
    assert set(FORMATS) == set(BODIES)


@pytest.mark.parametrize("name", TEMPLATE_FIELDS)
def test_every_field_of_a_template_has_a_value(name: str) -> None:
    for change in Change:
        told = notification(change=change)
        [(_, about)] = told.alerts
        text = line(told, change, about, f"<{{{name}}}>")
        assert text.startswith("<")
        assert "{" not in text
    assert Wanted("x", routing_key="hunter2").__repr__() == "Wanted('x')"
