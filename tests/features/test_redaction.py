"""Secrets do not show, and what is none stays readable."""

import pytest

from features import redaction
from features.params import parse_section
from features.paraphraser.llm import LlmParams
from features.redaction import redacted

MARK = "walnut-cabinet-7"


@pytest.mark.parametrize("name", ["PGPASSWORD", "MP_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUBTOKEN",
                                  "db_password", "SMTP_PASS", "RESTIC_PASSPHRASE", "KEY"])
def test_values_of_variables_by_their_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, MARK)
    assert redacted(f"said {MARK}, twice {MARK}") == "said ***, twice ***"


@pytest.mark.parametrize("name", ["PATH_TO_KEYS", "SSH_ASKPASS", "KEYBOARD", "PWD", "TOKENIZER"])
def test_other_variables_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, MARK)
    assert redacted(MARK) == MARK


def test_the_variable_that_a_parameter_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_named", set())
    monkeypatch.setenv("MY_LLM_CRED", MARK)
    assert redacted(MARK) == MARK
    parse_section({"api_key_env": "MY_LLM_CRED"}, "paraphrase.llm", LlmParams)
    assert redacted(f"key {MARK}") == "key ***"


@pytest.mark.parametrize(("text", "shown"), [
    ("push to https://TOKEN123@host/data", "push to https://***@host/data"),
    ("HTTPS://me:pass@host", "HTTPS://***@host"),
    ("https://me:p@ss:word@host/x", "https://***@host/x"),
    ("https://me:@host", "https://***@host"),
    ("postgres://me:pass@host/db", "postgres://***@host/db"),
    ("git from ssh://git@github.com/a/b", "git from ssh://git@github.com/a/b"),
    ("see https://host/a@b and https://host?x=a@b", "see https://host/a@b and https://host?x=a@b"),
    ("write to me@host about https://host", "write to me@host about https://host"),
])
def test_addresses(text: str, shown: str) -> None:
    assert redacted(text) == shown
