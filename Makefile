.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
UV := UV_SYSTEM_CERTS=1 .venv/bin/uv
MEMBERS := $(wildcard libs/*) $(wildcard services/*) $(wildcard sims/*)
KERNELS := $(wildcard libs/*/src/*/kernels/*.py)
ARGS ?=

.PHONY: help run scan sim drill setup test lint type web browser fmt schema bench crash crash-test requirements clean doctor ci

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/.installed: requirements.txt pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml sims/*/pyproject.toml)
	@test -x .venv/bin/python || python3 -m venv .venv
	@echo "installing pinned packages (about half a minute the first time)"
	@.venv/bin/python -m pip install -q --disable-pip-version-check "uv==0.13.9"
	@$(UV) pip install -q --python .venv/bin/python --require-hashes -r requirements.txt
	@$(UV) pip install -q --python .venv/bin/python --no-deps --no-build-isolation $(foreach m,$(MEMBERS),-e ./$(m)) -e .
	@touch $@

.venv/.compiled: .venv/.installed $(KERNELS)
	@echo "compiling kernels (about half a minute the first time)"
	@rm -f libs/*/src/*/kernels/__pycache__/*.nb? # its cache does not see a change in a file that a kernel imports
	@$(PY) -m tastytrades.kernels
	@touch $@

.venv/.developed: .venv/.compiled requirements-dev.txt
	@echo "installing what tests and benchmarks need"
	@$(UV) pip install -q --python .venv/bin/python --require-hashes -r requirements-dev.txt
	@touch $@

setup: .venv/.developed ## install everything that is needed into .venv

run: .venv/.compiled ## start everything: servers, simulator, services, web page (ARGS="--auto")
	@.venv/bin/tastytrades up $(ARGS)

scan: .venv/.compiled ## scan recorded chains (ARGS="--chains FILE")
	@.venv/bin/tastytrades scan $(ARGS)

sim: .venv/.compiled ## start the broker simulator
	@.venv/bin/tastytrades sim $(ARGS)

drill: .venv/.compiled ## stop a simulated system with working orders and measure it (ARGS="--own", "--history")
	@.venv/bin/tastytrades drill $(ARGS)

doctor: .venv/.compiled ## check the machine
	@.venv/bin/tastytrades doctor $(ARGS)

web: .venv/.developed ## check, test and build the web page
	@$(PY) -m tastytrades.web

browser: ## install the Chromium that the browser tests drive (Debian, Ubuntu; as root)
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core)

test: .venv/.developed lint type web ## run every check and test
	@$(PY) -m pytest -n 4 --dist loadfile tests libs services sims $(ARGS)
	@$(PY) -m pytest e2e --ignore e2e/test_crash.py $(ARGS) # whole systems: one at a time

lint: .venv/.developed ## lint and check the format
	@.venv/bin/ruff check -q .
	@.venv/bin/ruff format -q --check .

fmt: .venv/.developed ## format and fix what can be fixed
	@.venv/bin/ruff format -q . ; .venv/bin/ruff check -q --fix .

type: .venv/.developed ## type-check everything, strictly
	@.venv/bin/mypy $(foreach m,$(MEMBERS),$(m)/src) src

schema: .venv/.developed ## regenerate docs/contract; refuses an incompatible change
	@$(PY) -m schemas.contract write docs/contract

bench: .venv/.developed ## run the benchmarks (ONLY=P6 for one)
	@$(PY) -m bench $(if $(ONLY),--only $(ONLY))

crash-test: .venv/.developed ## what a crash may and may not change: a slice of the schedules, a lost bus, a lost cache
	@$(PY) -m pytest e2e/test_crash.py $(ARGS)

crash: .venv/.developed ## kill, cut and stall the order path by seeds, then check the books (COUNT=50 SEED0=1)
	@$(PY) -m e2e.crash --count $(or $(COUNT),50) --seed0 $(or $(SEED0),1) $(ARGS)

requirements: ## pin requirements*.txt again from requirements*.in
	@$(UV) pip compile -q --generate-hashes --universal --python-version 3.11 --no-annotate --no-header requirements-dev.in -o requirements-dev.txt
	@$(UV) pip compile -q --generate-hashes --universal --python-version 3.11 --no-annotate --no-header -c requirements-dev.txt requirements.in -o requirements.txt

ci: test ## what the continuous integration runs

clean: ## remove what was installed and built; the data stays
	@rm -rf .venv services/gateway/web/node_modules services/gateway/web/dist .mypy_cache .ruff_cache .pytest_cache
