from __future__ import annotations

import getpass
import os
from typing import NoReturn

import pytest

from streamgauge.preconditions import whoever


def test_whoever_gives_a_command_has_a_name_or_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert whoever() == f"cli:{getpass.getuser()}"

    def unnamed() -> NoReturn:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", unnamed)
    assert whoever() == f"cli:uid {os.getuid()}"
