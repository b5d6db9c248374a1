# One command each; every one of them does its own set-up. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test bench-world bench-features bench-ingest bench-repro bench-diff bench-leaks bench-profile bench-wide soak-features conformance bench-score bench-serving bench-experiments bench-parity soak-monitoring bench-false-alarms bench-training bench-public bench-draft soak-candidates soak-models check docs lock clean FORCE

# dvc's stages and tools call one another by name, so this checkout's programs come first.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The same switches as core.settings.TELEMETRY_OFF: they also hold for programs that start before our code.
export BENTOML_DO_NOT_TRACK := True
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export FEAST_USAGE := False
export MLFLOW_DISABLE_TELEMETRY := true

# Images often ask for no bytecode; the libraries are large, and every process of a run would compile them again.
export PYTHONDONTWRITEBYTECODE :=

# As pip does: a company's own certificate authority stands in the system's store.
export UV_SYSTEM_CERTS ?= true

PYTHON := .venv/bin/python
# Written last, with the folder it was made in: an environment does not survive a move.
READY := .venv/.ready
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(READY): FORCE
endif

help:
	@echo "make setup   install what requirements.lock names into .venv"
	@echo "make demo    run the whole loop on real purchases and show what it found"
	@echo "make test    run all tests, in random order, on up to four cores"
	@echo "make bench-world  time and memory of a million customers (minutes); CUSTOMERS=100000 for fewer"
	@echo "make bench-features   the feature store against Feast's own stores, on the same data (minutes)"
	@echo "make soak-features    the feature store under kills, races, late rows and other time zones (minutes)"
	@echo "make conformance SUITE=FOLDER  Feast's universal test suite over our stores; FOLDER is its sdk/python/tests (minutes)"
	@echo "make bench-ingest  rows per second and memory of ingest beside DuckDB's own read (minutes); ROWS=100000000 for more"
	@echo "make bench-repro  processor seconds of dvc repro for a small plan (minutes)"
	@echo "make bench-diff   stages that plan diff predicts, against those that dvc repro runs (half an hour); EDITS=10 for fewer"
	@echo "make bench-leaks  planted leaks that plan prove names, and clean plans (minutes); PLANS=\"weather visits\" for some, PLANS=none"
	@echo "make bench-profile  panthera profile of a large table (a minute); ROWS=, COLUMNS=; OTHERS=\"fg-data-profiling skrub\" to compare"
	@echo "make bench-wide   views of 200 to 1,000 features, from the build to the evaluation (minutes)"
	@echo "make bench-monitoring  drift, parity, cohorts and the report beside Evidently (ten minutes); ROWS=100000 for fewer"
	@echo "make bench-parity  planted defects of each class, and a log without any, by the parity check (a minute)"
	@echo "make soak-monitoring  months of rounds that retrain, promote, retire and roll back by themselves (half an hour); continues if killed"
	@echo "make bench-false-alarms  alarms of drift where nothing changed, and delays where something did (minutes)"
	@echo "make bench-score  panthera score beside Feast's client and LightGBM's booster (a minute)"
	@echo "make bench-serving  the service beside BentoML, Feast's client and LightGBM's booster (minutes); ROUNDS=1 for a quick look"
	@echo "make bench-experiments  simulated experiments with a known effect, and a comparison of a million exposures (minutes)"
	@echo "make soak-serving   the service under load, kills and promotions (half an hour); MINUTES=480 for longer"
	@echo "make bench-training   tuning and scoring against the stock ways (minutes)"
	@echo "make bench-draft  what drafts detect in public tables, and their scores beside plans by hand (half an hour); SETS=\"pima art\" for some"
	@echo "make bench-public     the plans of worlds/public against scikit-learn's boosting (ten minutes); PLANS=\"credit jobs\" for some"
	@echo "make soak-models      what evaluations say, against worlds whose truth is known (a quarter of an hour)"
	@echo "make soak-candidates  every candidate kind, step and selector on 100,000 customers, to the served score (minutes)"
	@echo "make check   lint, format, types and import rules; changes nothing"
	@echo "make docs    build the documentation as a site in .site; a broken link fails"
	@echo "make lock    resolve requirements.lock again from pyproject.toml"
	@echo "make clean   remove .venv and caches; keeps .panthera, data and reports"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@rm -f $(READY)
	@fits='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; \
	if ! $(PYTHON) -c "$$fits" 2>/dev/null; then \
	    found=; \
	    for python in python3.11 python3 python3.12 python3.13; do \
	        if $$python -c "$$fits" 2>/dev/null; then found=$$python; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "error: no Python 3.11, 3.12 or 3.13 on PATH ($$(python3 --version 2>&1 | head -n 1)); install one" >&2; exit 1; \
	    fi; \
	    echo "setup: .venv from $$found"; \
	    rm -rf .venv; \
	    $$found -m venv .venv || { echo "error: $$found -m venv failed; on Debian install its venv package" >&2; exit 1; }; \
	fi
	@echo "setup: uv, the pinned one"
	@awk '/^uv==/ {on = 1; print; next} on && /^ +--hash=/ {print; next} {on = 0}' requirements.lock > .venv/uv.lock
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
	@echo "setup: the packages of requirements.lock (minutes the first time)"
	@$(PYTHON) -m uv pip sync --quiet --python $(PYTHON) --require-hashes requirements.lock || { \
	    echo "setup: uv could not; pip tries, which reads its own configuration"; \
	    $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock; }
	@echo "setup: this project"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@printf '%s' "$(CURDIR)" > $(READY)
	@echo "setup: done"

demo: setup
	@$(PYTHON) -m panthera.cli demo

# Over the cores, at most four, by whole files, whose tests share their set-up; in the order of tests/conftest.py.
SHARED := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# The workers and what they start are more threads than cores: a thread without work leaves the core to the others at once.
test: export OMP_WAIT_POLICY := passive
test: export OPENBLAS_THREAD_TIMEOUT := 4
test: setup
	@echo "test: pytest (minutes)"
	@$(PYTHON) -m pytest $(SHARED)

CUSTOMERS ?= 1000000

bench-world: setup
	@$(PYTHON) -m benchmarks.world --customers $(CUSTOMERS)

# Every step runs, so that all faults are seen at once.
check: setup
	@failed=; \
	step() { echo "check: $$*"; "$$@" || failed="$$failed; $$*"; }; \
	step ruff check --output-format concise; \
	step ruff format --check; \
	step mypy; \
	step lint-imports --no-logo; \
	if [ -n "$$failed" ]; then echo "error: failed$${failed#;}" >&2; exit 1; fi; \
	echo "check: all passed"

bench-features: setup
	@$(PYTHON) -m benchmarks.feature_store.speed

soak-features: setup
	@$(PYTHON) -m benchmarks.feature_store.soak

# Feast's suite imports packages that nothing here uses; they stay out of the environment.
CONFORMANCE := .venv/conformance
conformance: setup
	@if [ -z "$(SUITE)" ]; then echo "error: no SUITE; give the folder of Feast's tests: make conformance SUITE=.../sdk/python/tests" >&2; exit 2; fi
	@$(PYTHON) -m uv pip install --quiet --python $(PYTHON) --target $(CONFORMANCE) --no-deps --require-hashes -r benchmarks/feature_store/conformance.lock
	@$(PYTHON) -m benchmarks.feature_store.conformance "$(SUITE)" --extras $(CONFORMANCE)

bench-ingest: ROWS = 5000000
bench-ingest: setup
	@$(PYTHON) -m benchmarks.feature_store.ingest --rows $(ROWS)

bench-repro: setup
	@$(PYTHON) -m benchmarks.repro

bench-diff: EDITS = 100
bench-diff: setup
	@$(PYTHON) -m benchmarks.planner.blast_radius --edits $(EDITS)

bench-leaks: setup
	@$(PYTHON) -m benchmarks.planner.leaks $(PLANS)

bench-profile: ROWS = 1000000
bench-profile: COLUMNS = 20
bench-profile: setup
	@$(PYTHON) -m benchmarks.planner.profile --rows $(ROWS) --columns $(COLUMNS) --others $(OTHERS)

bench-wide: setup
	@$(PYTHON) -m benchmarks.feature_store.wide_views

bench-monitoring: ROWS = 1000000
bench-monitoring: setup
	@$(PYTHON) -m benchmarks.monitoring.speed --rows $(ROWS)

bench-parity: setup
	@$(PYTHON) -m benchmarks.monitoring.parity

soak-monitoring: setup
	@$(PYTHON) -m benchmarks.monitoring.rounds_soak

bench-false-alarms: setup
	@$(PYTHON) -m benchmarks.monitoring.false_alarms

bench-score: setup
	@$(PYTHON) -m benchmarks.serving.score

bench-serving: ROUNDS = 5
bench-serving: setup
	@$(PYTHON) -m benchmarks.serving.speed --rounds $(ROUNDS)

soak-serving: MINUTES = 30
soak-serving: setup
	@$(PYTHON) -m benchmarks.serving.soak --minutes $(MINUTES)

bench-experiments: setup
	@$(PYTHON) -m benchmarks.monitoring.cohorts
	@$(PYTHON) -m benchmarks.monitoring.experiments

bench-draft: setup
	@$(PYTHON) -m benchmarks.planner.draft $(SETS)

bench-public: setup
	@$(PYTHON) -m benchmarks.public $(PLANS)

bench-training: setup
	@$(PYTHON) -m benchmarks.models.training

soak-candidates: CUSTOMERS = 100000
soak-candidates: setup
	@SUBSCRIPTION_CUSTOMERS=$(CUSTOMERS) $(PYTHON) -m pytest tests/worlds/test_subscription_candidates.py

soak-models: setup
	@$(PYTHON) -m benchmarks.models.soak

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict
	@echo "docs: .site/index.html"

lock: setup
	@echo "lock: resolving (a minute)"
	@$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    pyproject.toml --group dev -o requirements.lock

clean:
	@if [ -x .venv/bin/panthera ]; then $(PYTHON) -m panthera.cli down; fi
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .grimp_cache .hypothesis .site dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
