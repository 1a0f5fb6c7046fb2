# make demo | make test | make study. Everything is installed into .venv from requirements.lock.
# torch==2.13.0 without a local label: pip takes a CPU build where one is configured on disk, else the registry's.
PYTHON ?= python3.11
VENV ?= .venv
CORES ?= all
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/snakemake --cores $(CORES)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: help env demo check study published test test-long lint format lock verify verdict annotate tune bench-training bench-training-gpu bench-evaluation bench-analysis

help:
	@echo "make demo       offline, minutes on a CPU: the whole study on synthetic data, and its report"
	@echo "make check      the demo's results against the planted truth"
	@echo "make study      the paper's study (downloads about 3 GB; a GPU is wanted)"
	@echo "make published  the paper's released responses, analysed"
	@echo "make verdict RESPONSES=rated.csv   the verdict on responses that you have rated elsewhere (columns: judge_responses.py --help)"
	@echo "make test       all tests;  make test-long  the slow ones too"
	@echo "make tune STUDY=demo METHOD=sft   which precision and micro_batch train fastest on this machine"
	@echo "make bench-training   our training steps against the stock trainers;  make bench-training-gpu  their throughput on one GPU"
	@echo "make bench-evaluation   generation and scoring against the author's loop, and against the machine's floor"
	@echo "make verify STUDY=demo   every artifact of a study against its checksums"

env: $(STAMP)
$(STAMP): requirements.lock
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --no-deps -r requirements.lock
	$(PIP) install --quiet -r requirements.in -c requirements.lock
	$(PIP) check
	touch $@

demo: $(STAMP)
	$(RUN) --configfile config/demo.yaml
	@cat results/demo/report/summary.txt

check: $(STAMP)
	$(RUN) --configfile config/demo.yaml -- check

study: $(STAMP)
	$(VENV)/bin/python workflow/scripts/preflight.py --config config/config.yaml
	$(RUN)
	@cat results/paper/report/summary.txt

published: $(STAMP)
	$(RUN) --configfile config/published.yaml
	@cat results/published/report/summary.txt

# SETTINGS=file.yaml names root, parents, contrasts, primary and the judges' thresholds; without it: base, and the paper's
verdict: $(STAMP)
	@test -n "$(RESPONSES)" || { echo "error: make verdict needs RESPONSES=file (Parquet, CSV or JSON with columns policy, axis, prompt_id, reward)"; exit 2; }
	$(VENV)/bin/python workflow/scripts/judge_responses.py --responses "$(RESPONSES)" --defaults config/config.yaml \
		$(if $(SETTINGS),--settings "$(SETTINGS)") --output "results/verdict/$(basename $(notdir $(RESPONSES)))"

STUDY_CONFIG = $(if $(filter paper,$(STUDY)),,--configfile config/$(STUDY).yaml)

tune: $(STAMP)
	@test -n "$(STUDY)" -a -n "$(METHOD)" || { echo "error: make tune needs STUDY=name and METHOD=name of an entry of methods"; exit 2; }
	$(RUN) $(STUDY_CONFIG) --forcerun tune_training -- results/$(STUDY)/timings/tune_training/$(METHOD).json

bench-training: $(STAMP)
	$(VENV)/bin/python tests/bench/bench_training.py --case demo --rounds 5
	$(VENV)/bin/python tests/bench/bench_training.py --case opt-350m --rounds 1

bench-training-gpu: $(STAMP)
	$(VENV)/bin/python tests/bench/bench_training.py --gpu

bench-evaluation: $(STAMP)
	$(VENV)/bin/python tests/bench/bench_evaluation.py
	$(VENV)/bin/python tests/bench/bench_evaluation.py --scale results/demo

bench-analysis: $(STAMP)
	$(VENV)/bin/python tests/bench/bench_analysis.py

verify: $(STAMP)
	$(VENV)/bin/python workflow/scripts/verify_study.py --folder results/$(STUDY)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile workflow/rules
	$(VENV)/bin/snakemake --lint

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/snakefmt Snakefile workflow/rules

test: lint
	$(VENV)/bin/python -m pytest -m "not long"

test-long: lint
	$(VENV)/bin/python -m pytest

# a new lock from requirements.in: resolved in a throw-away venv, local labels such as +cpu dropped
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet -r requirements.in
	.venv-lock/bin/python -m pip freeze --exclude pip --exclude setuptools | grep -v -E '^(nvidia-|triton==|cuda-)' | sed -E 's/^(torch==[0-9.]+)\+[a-z0-9]+$$/\1/' > requirements.lock
	rm -rf .venv-lock
	$(MAKE) environment.yml

environment.yml: requirements.lock
	printf 'name: hh-align\nchannels: [conda-forge, nodefaults]\ndependencies:\n  - python=3.11\n  - pip>=24\n  - pip:  # the lines of requirements.lock: an -r line would break when Snakemake copies this file\n' > $@
	sed 's/^/      - /' requirements.lock >> $@

# a page on 127.0.0.1 that collects true labels, blind: STUDY=demo [CONTRAST=sft_dpo,sft] [SAMPLE=50 prompts per axis] [ANNOTATOR=name] [PORT=8765]
annotate: $(STAMP)
	$(VENV)/bin/python workflow/scripts/annotate.py --folder results/$(STUDY) $(if $(CONTRAST),--contrast $(CONTRAST)) \
		$(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(ANNOTATOR),--annotator $(ANNOTATOR)) $(if $(PORT),--port $(PORT))
