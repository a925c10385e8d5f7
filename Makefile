# What a person or a machine wants to do with the source. `make` alone tells.
.PHONY: help build demo test bench man fmt lint ci install install-docs clean
.DEFAULT_GOAL := help

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=

help:
	@echo 'make demo     a real bounce through a real Postfix, on loopback, as a story'
	@echo 'make test     every test, with Postfix end to end'
	@echo 'make bench    speed and memory, beside do-nothing milters in C'
	@echo 'make build    the two programs, optimised'
	@echo 'make install  puts them, the manual pages and the completions of shells under PREFIX ($(PREFIX))'
	@echo 'make man      writes the parts of the manual pages anew that are generated from the source'
	@echo 'make fmt      formats the source'
	@echo 'make lint     what the compiler and clippy object to'
	@echo 'make ci       test, format and lint, as the continuous integration does'
	@echo 'make clean    removes what was built'
	@echo
	@echo 'demo, test and bench install what they lack from Debian first (scripts/install-deps).'

build:
	$(CARGO) build --release --locked

demo:
	demo/demo.sh

test:
	scripts/install-deps
	$(CARGO) test --locked --no-fail-fast

bench:
	benches/run

man:
	$(CARGO) run --quiet --locked --example man

fmt:
	$(CARGO) fmt

lint:
	$(CARGO) clippy --locked --all-targets -- -D warnings

ci:
	.ci/run

install: build
	$(MAKE) install-docs
	install -D -m 755 target/release/backstopd '$(DESTDIR)$(PREFIX)/sbin/backstopd'
	install -D -m 755 target/release/backstopctl '$(DESTDIR)$(PREFIX)/bin/backstopctl'

# Apart from the programs, so that it can be tried without an optimised build.
BACKSTOPCTL = target/release/backstopctl
share = $(DESTDIR)$(PREFIX)/share
install-docs:
	for page in man/*.[0-9]; do install -D -m 644 "$$page" "$(share)/man/man$${page##*.}/$${page##*/}" || exit; done
	install -d '$(share)/bash-completion/completions' '$(share)/zsh/site-functions' '$(share)/fish/vendor_completions.d'
	'$(BACKSTOPCTL)' completions bash >'$(share)/bash-completion/completions/backstopctl'
	'$(BACKSTOPCTL)' completions zsh >'$(share)/zsh/site-functions/_backstopctl'
	'$(BACKSTOPCTL)' completions fish >'$(share)/fish/vendor_completions.d/backstopctl.fish'

clean:
	$(CARGO) clean
