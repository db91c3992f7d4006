# The commands of the README. Needs Python 3.11 or newer with venv, and any make since GNU 3.81.
#
#   make demo             install into .venv and see functions travel, over one file
#   make demo URL=amqp:…  the same over that RabbitMQ
#   make test             every test; PYTEST_ARGS="-k words -x" chooses among them
#   make check            what CI runs: style, types and tests
#   make simulate         2,000 random stories with random faults; SEEDS=50000 for more
#   make bench            what this machine manages, over a private RabbitMQ and over one file
#   make bench-peers      the same beside Celery, Dramatiq, Taskiq, Huey and APScheduler
#                         both with ROUNDS=3; SCALE=0.01 tries them with a part of the numbers
#   make soak MINUTES=10  break everything at random over a RabbitMQ; then compare what was promised with what was kept
#   make fuzz COUNT=1000000   throw changed messages at everything that reads them
#   make clean            remove what these made

PYTHON ?= python3
PYTEST_ARGS ?=
URL ?=
SEEDS ?= 2000
MINUTES ?= 10
SOAK_ARGS ?=
ROUNDS ?= 3
SCALE ?= 1
TASKS ?=

VENV := .venv
BIN := $(VENV)/bin
PEERS := $(VENV)/peers
BENCHMARKS := $(filter-out %/bench_peers.py,$(wildcard benchmarks/bench_*.py))
OF_THE_TABLE := $(foreach name,start hard waiting due_at_once memory harness,benchmarks/results/$(name).json)
TYPED_TESTS := $(wildcard tests/typing/*.py)

.PHONY: demo test check lint soak simulate bench bench-peers clean fuzz

demo: $(VENV)/.installed
	$(BIN)/schedulergodx demo $(if $(URL),--url '$(URL)')

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# One after the other also under -j, so that pytest's summary comes last.
check: lint
	$(MAKE) test

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(if $(TYPED_TESTS),$(BIN)/mypy $(TYPED_TESTS))

soak: $(VENV)/.installed-dev
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(SOAK_ARGS)

bench: $(VENV)/.installed-dev
	@for script in $(BENCHMARKS) benchmarks/limits.py; do echo "== $$script" && \
	    SCHEDULERGODX_BENCH_SCALE=$(SCALE) $(BIN)/python $$script $(ROUNDS) || exit 1; done

# Its table needs what these measure, too; what is there is not measured again.
bench-peers: $(VENV)/.installed-dev $(PEERS)/.installed $(OF_THE_TABLE)
	SCHEDULERGODX_BENCH_SCALE=$(SCALE) $(BIN)/python benchmarks/bench_peers.py \
	    --python $(PEERS)/bin/python $(if $(TASKS),--tasks $(TASKS)) $(ROUNDS)

benchmarks/results/%.json: benchmarks/bench_%.py | $(VENV)/.installed-dev
	SCHEDULERGODX_BENCH_SCALE=$(SCALE) $(BIN)/python $< $(ROUNDS)

simulate: $(VENV)/.installed
	$(BIN)/python -m schedulergodx_testing.simulation --seeds $(SEEDS)

fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzz.py $(or $(COUNT),1000000) $(or $(SEED),1)

clean:
	rm -rf $(VENV) benchmarks/results build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# A file marks each step that is done: the second run is quick, and a changed pyproject.toml installs anew.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "SchedulerGodX needs Python 3.11 or newer. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "No virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# The group is read by hand: `pip install --group` needs pip 25.1, and Python 3.11 brings pip 23.
$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' > $(VENV)/dev.txt
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/dev.txt
	@touch $@

# An environment of their own: nothing of theirs reaches ours, and the other way round.
$(PEERS)/.installed: $(VENV)/.created benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
	@touch $@
