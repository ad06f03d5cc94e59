# Everything a developer types. Each verb sets up what it needs first.
PYTHON ?= python3
UV := .venv/bin/uv
RUN := .venv/bin

.PHONY: demo test check format setup clean

# How an uv of our own is had on a machine that has none: pip in the project's own environment, nowhere else.
$(UV):
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"

# uv leaves its own program alone with --inexact, as it is no dependency of the project. It builds the wallboard too,
# when the sources or the output have changed (pyproject.toml, cache-keys).
setup: $(UV)
	$(UV) sync --frozen --inexact --quiet

demo: setup  ## everything, with a simulated community as producer, on http://127.0.0.1:8000/
	$(RUN)/streamgauge up --demo

test: setup  ## all tests
	$(RUN)/python -m pytest

check: setup  ## lint, types and the rule which way imports run
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

format: setup
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

clean:
	rm -rf .venv live_api/static dist .mypy_cache .ruff_cache .pytest_cache
