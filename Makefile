# Everything a developer types. Each verb sets up what it needs first.
UV := .venv/bin/uv
RUN := .venv/bin

.PHONY: demo test chaos fuzz soak screenshots docs audit sbom check format setup bench-first-light bench-engine bench-hub bench-anomaly bench-incidents bench-forecast bench-people bench-churn bench-sinks bench-ingest clean

# The first Python on the path that will do, unless PYTHON names one; and an uv of our own, in .venv and nowhere else.
$(UV):
	@set -e; for python in $(PYTHON) python3 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
	    $$python -m venv .venv || { rm -rf .venv; echo "venv is missing; on Debian: apt-get install python3-venv"; exit 1; }; \
	    exec .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"; \
	  fi; \
	done; echo "streamgauge needs Python 3.11 or 3.12; set PYTHON=/path/to/python if it is not on the path"; exit 1

# uv leaves its own program alone with --inexact, as it is no dependency of the project. It builds the wallboard too,
# when the sources or the output have changed (pyproject.toml, cache-keys).
setup: $(UV)
	@test -d live_api/static || echo "setting up in .venv and building the wallboard: about half a minute, once"
	@$(UV) sync --frozen --inexact --quiet

demo: setup  # everything, with a simulated community as producer, on http://127.0.0.1:8000/
	@$(RUN)/streamgauge up --demo

test: setup  # all tests, each file of them in one of two processes: most of the time they wait for others
	@$(RUN)/python -m pytest -n 2 --dist loadfile

chaos: setup  # a million events through a cluster that is killed at random; some minutes. CHAOS_SEED repeats a run
	@$(RUN)/python -m tests.chaos

fuzz: setup  # odd events for the decoder, each way it reads; FUZZ_EXAMPLES of each kind
	@FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-5000} $(RUN)/python -m pytest -q --timeout 0 tests/stream/test_decode_fuzz.py

soak: setup  # the demo and a wall in a browser, whose memory must stay flat: ten minutes, or SOAK_MINUTES
	@$(RUN)/python -m tests.soak

# What is installed where it runs: no tools of developers, all extras.
LOCKED := export --frozen --quiet --no-dev --no-emit-project --all-extras

audit: setup  # known vulnerabilities of the locked dependencies, by the advisories of PyPI; fails where it cannot ask
	@$(UV) $(LOCKED) --format requirements.txt --output-file .venv/audit.txt
	@$(RUN)/pip-audit --strict --disable-pip --require-hashes --requirement .venv/audit.txt --progress-spinner off

sbom: setup  # dist/sbom.cdx.json: the locked dependencies as CycloneDX
	@mkdir -p dist
	@$(UV) $(LOCKED) --preview-features sbom-export --format cyclonedx1.5 --output-file dist/sbom.cdx.json

screenshots: setup  # docs/images, of the demo after a minute
	@STREAMGAUGE_SCREENSHOTS=docs/images $(RUN)/python -m pytest -q tests/browser/test_pictures.py

docs: setup  # the tables of keys, settings, routes and events of the log, anew from the code
	$(RUN)/python -m streamgauge.reference docs/*.md

check: setup  # lint, format, types, and the rule which way imports run
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

format: setup
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

bench-first-light: setup  # latency, and what an idle installation costs
	$(RUN)/python -m benchmarks.first_light

bench-engine: setup  # rates beside those of others, latency, memory, pauses, recovery: some ten minutes, alone
	$(RUN)/python -m benchmarks.engine

bench-hub: setup  # screens: frames a core, latency, memory, stalls, resumes, painted age: a quarter of an hour, alone
	$(RUN)/python -m benchmarks.hub

bench-anomaly: setup  # detectors over labelled series beside published ones; a minute, alone
	$(RUN)/python -m benchmarks.anomaly

bench-incidents: setup  # the demo's rules over its incidents and over quiet weeks: a quarter of an hour for each of SEEDS
	$(RUN)/python -m benchmarks.anomaly.incidents $(SEEDS)

bench-forecast: setup  # forecasts of real series beside naive ones; a minute, alone
	$(RUN)/python -m benchmarks.forecast

bench-churn: setup  # who leaves, said of generated people, beside recency; and what a person-day costs: two minutes, alone
	$(RUN)/python -m benchmarks.churn

bench-people: setup  # analyses of people beside a plain loop, with a million people, snapshots: five minutes, alone
	$(RUN)/python -m benchmarks.people

bench-sinks: setup  # lines for InfluxDB, upserts, the archive, questions about the past: two minutes, alone
	$(RUN)/python -m benchmarks.sinks

bench-ingest: setup  # events over HTTP beside XADD, on one core each: a minute and a half, alone
	$(RUN)/python -m benchmarks.ingest

clean:
	rm -rf .venv live_api/static dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
