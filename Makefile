# Everything a newcomer or CI runs. `make demo` and `make test` install what is missing.
BUILD ?= .build
SWIFT ?= swift
BIN = $(BUILD)/release

.PHONY: all build demo test check fuzz bench accuracy models clean setup

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

accuracy: build
	sh Scripts/accuracy.sh $(BIN)/trident

clean:
	rm -rf $(BUILD)
