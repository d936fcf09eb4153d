# Everything runs in .venv, made by python3 -m venv and pip alone. `make help` lists the targets.
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock
SEED    := 2019
DATA    ?=
PRESET  ?= demo
RUN     ?=
MODEL   ?= models/kits.onnx
IMAGE   ?= kits-submit
RUNTIME ?= gpu
NAMES   ?= kits
DOCKER  ?= docker
ARCHIVE  = $(subst /,-,$(subst :,-,$(IMAGE))).tar
MEMORY  ?= 16g
SECONDS ?= 600
FUZZ    ?= 20000
INPUT   ?= build/demo/cases
NUMERIC ?= tests/engine tests/inference tests/evaluation tests/export tests/train
# oneDNN's, ATen's and OpenBLAS's most, and threads; what a processor lacks, its libraries leave out by themselves
PROCESSORS := AVX2,default,Haswell,1 AVX2,avx2,Haswell,2 AVX512_CORE,avx512,SkylakeX,1 AVX512_CORE_AMX,avx512,SkylakeX,2
comma   := ,
OUTPUT  ?= build/demo/predictions

.DEFAULT_GOAL := help
.PHONY: help setup dev demo test test-slow test-processors lint train export run eval wheel image image-save rehearse gpu-check bench fuzz clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(VENV)/.runtime  ## .venv with the runtime (no torch)

dev: $(VENV)/.dev  ## .venv with everything: torch, exporter, OpenVINO, linters, tests

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("kits-submit needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'no venv here: on Debian or Ubuntu, apt install python3-venv' >&2; exit 1; }

$(VENV)/.runtime: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime  ## three phantoms and a real scan, segmented and scored with the shipped model
	@rm -rf build/demo
	$(BIN)/kits-submit phantom build/demo/cases --cases 3 --seed $(SEED) --max-slices 110
	@cp -r examples/case_90005 build/demo/cases/
	$(BIN)/python entrypoint.py build/demo/cases build/demo/predictions --pictures --report
	@echo 'cases: build/demo/cases   masks, pictures, scores.csv, scores.json, run.json: build/demo/predictions'
	@echo 'look at it: build/demo/predictions/report.html'

test: $(VENV)/.dev  ## the whole test suite
	$(BIN)/python -m pytest

test-slow: $(VENV)/.dev  ## what the suite leaves out: lost workers, nodes and runs on a local cluster
	$(BIN)/python -m pytest -m slow

test-processors: $(VENV)/.dev  ## the numeric tests as processors of other instruction sets, and one thread or two, compute
	@$(foreach one,$(PROCESSORS),$(call as-processor,$(subst $(comma), ,$(one))) &&) echo 'all processors agree'

define as-processor
echo '--- oneDNN $(word 1,$(1)), ATen $(word 2,$(1)), OpenBLAS $(word 3,$(1)), $(word 4,$(1)) threads' && \
ONEDNN_MAX_CPU_ISA=$(word 1,$(1)) ATEN_CPU_CAPABILITY=$(word 2,$(1)) OPENBLAS_CORETYPE=$(word 3,$(1)) \
OMP_NUM_THREADS=$(word 4,$(1)) OPENBLAS_NUM_THREADS=$(word 4,$(1)) $(BIN)/python -m pytest $(NUMERIC)
endef

lint: $(VENV)/.dev  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

train: $(VENV)/.dev  ## train: DATA=/data/kits19 PRESET=paper OPTIONS="--precision bf16"; without DATA on phantoms
	$(BIN)/kits-submit train --preset $(PRESET) $(if $(DATA),--data $(DATA)) $(if $(RUN),--out $(RUN)) $(OPTIONS)

export: $(VENV)/.dev  ## the newest run (or RUN=) to build/kits.onnx, checked against torch
	$(BIN)/kits-submit export $(RUN) --out build/kits.onnx

run: $(VENV)/.runtime  ## segment INPUT= into OUTPUT=
	$(BIN)/kits-submit run $(INPUT) $(OUTPUT)

eval: $(VENV)/.runtime  ## score OUTPUT= (masks) against INPUT= (labels)
	$(BIN)/kits-eval $(OUTPUT) $(INPUT)

wheel: $(VENV)/.dev  ## sdist and wheel, the shipped model inside, into dist/
	rm -rf dist build/lib build/bdist.* *.egg-info/SOURCES.txt
	$(BIN)/python -m build --outdir dist .

image:  ## the container image IMAGE= (RUNTIME=gpu|cpu) with MODEL= baked in, masks under NAMES=kits|source
	@test -f $(MODEL) || { echo "$(MODEL): no such model; make export, or MODEL=models/kits.onnx" >&2; exit 7; }
	@mkdir -p build/image
	@cp $(MODEL) build/image/kits.onnx
	$(DOCKER) build --build-arg RUNTIME=$(RUNTIME) --build-arg NAMES=$(NAMES) \
		--build-arg MODEL=build/image/kits.onnx --tag $(IMAGE) .

image-save: image  ## the image as build/IMAGE.tar.gz, for an upload
	$(DOCKER) save --output build/$(ARCHIVE) $(IMAGE)
	gzip --force build/$(ARCHIVE)
	@ls -lh build/$(ARCHIVE).gz

rehearse: $(VENV)/.runtime  ## the judge's run of INPUT=, with MEMORY= and SECONDS=
	$(BIN)/kits-submit rehearse $(INPUT) --memory $(MEMORY) --seconds $(SECONDS)

fuzz: $(VENV)/.dev  ## FUZZ= mutated files through the whole run (the tests do 2,000)
	FUZZ=$(FUZZ) SEED=$(SEED) $(BIN)/python -m pytest tests/faults/test_mutations.py tests/faults/test_mutated_dicom.py

gpu-check: $(VENV)/.dev  ## on a machine with an NVIDIA GPU: CUDA, fp16, other forms, TensorRT against the CPU
	@mkdir -p build/forms
	$(BIN)/kits-submit export $(MODEL) --half --out build/forms/fp16.onnx
	$(BIN)/kits-submit export $(MODEL) --depthwise slices --out build/forms/slices.onnx
	$(BIN)/kits-submit export $(MODEL) --depthwise dense --out build/forms/dense.onnx
	$(BIN)/kits-submit gpu-check --model $(MODEL) $(foreach form,fp16 slices dense,--also build/forms/$(form).onnx)

bench: $(VENV)/.dev  ## measured ratios, into build/bench
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/memory.py
	$(PIP) --requirement benchmarks/requirements.txt
	$(BIN)/python benchmarks/inference.py

clean:  ## everything that was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
