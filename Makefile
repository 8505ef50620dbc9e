# Two commands matter: `make run` does the whole job on the recorded sample, `make test` proves it.
# Both make their own virtual environment on first use.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SPLIT  ?= host

# One thread for each numeric library: workers share the machine, and results repeat
# to the byte on that machine.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: run demo record-lab lab bench-lab watch test test-all check peers bench bench-collect bench-recording bench-live bench-models bench-evaluation bench-scale bench-dashboard documented ui clean install browser

run: install
	$(BIN)/cis490 run --split $(SPLIT)

# Dashboard and replay of a recorded episode with all twelve models, which it trains if they are not.
demo: install
	$(BIN)/cis490 demo

# Record a block of the plan of data/lab: make record-lab BLOCK=2. An hour, on a machine with nothing
# else to do; a second call records what a stopped one left.
IMAGE ?= data/image
record-lab: install
	test -d $(IMAGE) || $(BIN)/cis490 record image --out $(IMAGE)
	$(BIN)/cis490 record data/lab/plan.toml --store data/lab --image $(IMAGE) --lanes 4 --resume $(BLOCK:%=--block %)

# Everything on the recorded corpus data/lab, with its own sides: models, report, controls.
lab: install
	cd data/lab && $(abspath $(BIN))/cis490 run --split host

# Each machine of it left out in turn, beside peers; hours, and a stopped run goes on where it was.
bench-lab: peers
	$(BIN)/python -m benchmarks.lab

# This machine on the dashboard, judged by the models of `make run`. Two minutes of learning are
# for a first look; an hour is better: make watch LEARN=1h
LEARN ?= 2min
watch: install
	$(BIN)/cis490 bundle data/watch/bundle
	$(BIN)/cis490 watch --bundle data/watch/bundle --state data/watch/state --learn $(LEARN) --dashboard

# Two at a time, a file each: what a file's tests share is made once. COVERAGE=1 also measures
# which branches of the package both calls run, and fails below what pyproject.toml requires.
COVER := $(if $(COVERAGE),--cov --cov-append --cov-report= --cov-fail-under=0)
test: install browser
	$(if $(COVERAGE),$(BIN)/coverage erase)
	$(BIN)/pytest --numprocesses 2 --dist loadfile $(COVER) -m "not long and not browser and not peers"
	$(BIN)/pytest --numprocesses 2 --dist load $(COVER) -m "browser and not long" cis490_pipeline_tests/browser
	$(if $(COVERAGE),$(BIN)/coverage report)

# In parts, each left out where it has passed on this commit: `make test-all` after a stop or a failure
# goes on. Uncommitted changes are not seen; `rm -r .test-all` forgets.
PASSED := .test-all/$(shell git rev-parse HEAD 2>/dev/null)
LONG   := benchmarks cli compute dashboard experiment features live models orchestration recording store training
test-all: install browser peers $(PASSED)/fast $(LONG:%=$(PASSED)/%) $(PASSED)/browser

$(PASSED)/fast: | install browser peers
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not long and not browser and not peers"
	@mkdir -p $(@D) && touch $@

$(LONG:%=$(PASSED)/%): | install browser peers
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "(long or peers) and not browser" cis490_pipeline_tests/$(@F)
	@mkdir -p $(@D) && touch $@

$(PASSED)/browser: | install browser peers
	$(BIN)/pytest -m browser cis490_pipeline_tests/browser
	@mkdir -p $(@D) && touch $@

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vermin -t=3.9- --violations --eval-annotations --no-tips --quiet cis490_pipeline/collect

# Peers to compare with are wanted here only; a quiet machine gives fairer ratios.
peers: install
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'

bench: peers
	$(BIN)/python -m benchmarks.data_path

# Hours on two cores; a stopped run goes on where it was. QUICK=--quick for a few minutes.
bench-models: peers
	$(BIN)/python -m benchmarks.models $(QUICK)
	$(BIN)/python -m benchmarks.training_memory

# Some minutes; the gain of two idle loops beside it says what the machine had to give.
bench-scale: install
	$(BIN)/python -m benchmarks.scale_out

# What `cis490 live` and `cis490 watch` cost on this machine, and that it stays so.
bench-live: install
	$(BIN)/python -m benchmarks.live
	$(BIN)/python -m benchmarks.watch

# Capture of 50,000 packets/s and of a flood, in a network namespace; QUICK=--quick keeps nothing.
bench-collect: install
	$(BIN)/python -m benchmarks.collect $(QUICK)

# The recorder: rates, lateness, labels against behaviour. Half an hour in four lanes; a stopped run
# goes on where it was. Nothing else should run meanwhile.
bench-recording: install
	$(BIN)/cis490 record image --out data/image
	$(BIN)/python -m benchmarks.recording --image data/image --store data/recorder --resume $(QUICK)

# The live dashboard under load: 50 browsers, floods of events, and its page in chromium.
bench-dashboard: install browser
	$(BIN)/python -m benchmarks.dashboard

# Simulations: half an hour on a busy machine. QUICK=--quick prints a rough table and writes nothing.
bench-evaluation: install
	$(BIN)/python -m benchmarks.intervals $(QUICK)

# What README and docs quote of a run: made on a clean checkout, a quarter of an hour on an idle machine.
documented: install
	$(BIN)/python -m benchmarks.documented_run
	$(BIN)/python -m benchmarks.processors --fresh
	$(BIN)/python -m docs.make_reference

ui: install
	$(BIN)/dagster dev

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# The report is looked at in a real browser; the tests say how to get one if it is missing.
browser:
	@command -v chromium >/dev/null || { echo "make test needs chromium (Debian: apt-get install chromium)"; exit 2; }

clean:
	rm -rf data/processed data/artifacts data/reports data/dagster data/dashboard
