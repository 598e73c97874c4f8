# Everything a newcomer or CI runs. `make demo` and `make test` install what is missing.
BUILD ?= .build
SWIFT ?= swift
BIN = $(BUILD)/release

.PHONY: all build demo test check fuzz bench peers models clean setup

all: build

setup:
	@sh Scripts/setup.sh

build: setup
	$(SWIFT) build -c release --scratch-path $(BUILD)

demo: build
	@sh Scripts/demo.sh $(BIN)

test: setup
	$(SWIFT) build -c release --scratch-path $(BUILD)
	$(SWIFT) test -c release --scratch-path $(BUILD)
	sh Scripts/check-programs.sh $(BIN)

models:
	sh Scripts/models.sh models/download

bench: build
	$(BIN)/trident bench

# Python packages into a folder of their own; PEERS="--no-amx --rounds 5" and the like are handed on.
peers: build
	python3 -m venv $(BUILD)/peers-venv
	$(BUILD)/peers-venv/bin/pip install -q -r Benchmarks/peers/requirements.txt
	$(BUILD)/peers-venv/bin/python Benchmarks/peers/compare.py --trident $(BIN)/trident --cache $(BUILD)/peers $(PEERS)

clean:
	rm -rf $(BUILD)
