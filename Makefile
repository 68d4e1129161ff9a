# What a user types. Needs python >= 3.11, pip, git and make; everything is installed into .venv.
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export OMP_NUM_THREADS := 1

.PHONY: help setup demo repro study report shapley docs test check slow faults reliability golden speed validate-smac clean distclean
.DELETE_ON_ERROR:

help:
	@echo "make demo           set-up, then the pipeline on demo/params.yaml (minutes)"
	@echo "make repro JOBS=N   set-up, then the pipeline on params.yaml, N runs at once (default: one per core)"
	@echo "make repro ENGINE=ray   on a Ray cluster; ARGS='--address auto --mirror URL' (docs/how-to/cluster.md)"
	@echo "make study STUDY=readings JOBS=N   a side study (studies/README.md)"
	@echo "make report         tables, figures and README's claims again, from the runs that are there, studies too"
	@echo "make shapley        what the trained agents contribute, beside their credit (half an hour), for make report"
	@echo "make docs           the documentation into site/, warnings as errors"
	@echo "make test           set-up, then linters, types and tests"
	@echo "make slow           the slow tests"
	@echo "make faults         kills, damage and fuzzed input at nightly counts (40 minutes)"
	@echo "make reliability    the same at release counts, into README.md (hours; continues where it stopped)"
	@echo "make golden         record the golden runs anew, after results_version was raised"
	@echo "make speed          speed and memory beside the references (a quarter of an hour); OUT=folder keeps them"
	@echo "make validate-smac  the SMAC engine beside the real game (minutes); ARGS='--recordings FOLDER' and others"
	@echo "make setup          only install"
	@echo "make clean          remove checkpoints, logs, weights that are not published, and the demo's results"
	@echo "PYTHON=python3.12   another interpreter for .venv"

setup: $(VENV)/.installed

$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "error: no python >= 3.11 among: $(or $(PYTHON),python3 python3.13 python3.12 python3.11); say make PYTHON=/path/to/python ..." >&2; \
	exit 2

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) (about 1.5 GB, minutes the first time)"
	$(PIP) -e '.[dev]'
	@touch $@

# The tests also compare with other packages. ma-gym asks for an old Python and an old gym; the tests need neither.
$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[dev,docs,interop]'
	$(PIP) --no-deps --ignore-requires-python ma-gym
	@touch $@

# What the slow tests of the trackers and of the Ray engine need besides.
$(VENV)/.installed-extras: $(VENV)/.installed-test
	$(PIP) -e '.[dev,docs,interop,distributed,tensorboard,wandb]'
	@touch $@

# What the engine of `make repro ENGINE=ray` needs.
$(VENV)/.installed-ray: $(VENV)/.installed
	$(PIP) -e '.[dev,distributed]'
	@touch $@

# ENGINE=ray: on a Ray cluster (docs/how-to/cluster.md); ARGS: further options of benchmarks.launch.
LAUNCH = $(BIN)/python -m benchmarks.launch $(if $(JOBS),--jobs $(JOBS)) $(if $(ENGINE),--engine $(ENGINE)) $(ARGS)
STUDY_FOLDER = studies/$(or $(STUDY),readings)
STUDIES = $(sort $(patsubst studies/%/params.yaml,%,$(wildcard studies/*/params.yaml)))
LAUNCHER := $(VENV)/.installed$(if $(filter ray,$(ENGINE)),-ray)

# demo/ is a DVC project of its own with links to this one's dvc.yaml: what it makes is git-ignored.
demo: $(LAUNCHER)
	cd demo && $(LAUNCH)

repro: $(LAUNCHER)
	$(LAUNCH)

study: $(LAUNCHER)
	@test -f $(STUDY_FOLDER)/params.yaml || { echo "error: found STUDY=$(STUDY); allowed are $(STUDIES)." >&2; exit 2; }
	cd $(STUDY_FOLDER) && $(LAUNCH)

report: $(VENV)/.installed
	for folder in . $(dir $(wildcard studies/*/dvc.lock)); do \
	  (cd $$folder && python -m dvc repro --force --single-item aggregate) || exit; \
	done
	$(BIN)/python -m benchmarks.report.readme
	$(BIN)/python -m benchmarks.site

shapley: $(VENV)/.installed
	$(BIN)/python -m benchmarks.shapley

# Everything comes from the repository: neither the build nor the pages need a network.
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "site/index.html; its search needs a server: python -m http.server -d site"

check: $(VENV)/.installed
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

test: $(VENV)/.installed-test check
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow and not faults"

slow: $(VENV)/.installed-extras
	$(BIN)/python -m pytest -q -m slow

faults: $(VENV)/.installed-extras
	RELIABILITY_TIER=nightly $(BIN)/python -m pytest -q -n auto -m "" tests/reliability

reliability: $(VENV)/.installed-extras
	$(BIN)/python -m benchmarks.reliability $(if $(ONLY),--only "$(ONLY)")

golden: $(VENV)/.installed-test
	PYTHONPATH=tests:tests/reliability $(BIN)/python tests/reliability/golden.py $(ENVS)

speed: $(VENV)/.installed
	$(BIN)/python -m benchmarks.speed $(if $(OUT),--out $(OUT))

validate-smac: $(VENV)/.installed
	$(BIN)/python -m benchmarks.smac_validation $(ARGS)

clean:
	rm -rf work demo/work demo/results demo/dvc.lock demo/results_versions.yaml demo/.dvc/tmp .dvc/tmp
	rm -rf studies/*/work studies/*/.dvc/tmp
	rm -rf site .pytest_cache .mypy_cache .ruff_cache .hypothesis

distclean: clean
	rm -rf $(VENV)
