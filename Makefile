# What a person or a machine wants to do with the source. `make` alone tells.
.PHONY: help build demo test bench man fmt lint ci install install-built install-docs uninstall deb rpm test-machine clean
.DEFAULT_GOAL := help

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
# Debian's own zsh looks in vendor-completions for what packages bring.
ZSH_COMPLETIONS ?= zsh/site-functions
PROGRAMS = target/release
BACKSTOPCTL = $(PROGRAMS)/backstopctl
share = $(DESTDIR)$(PREFIX)/share
UNITS = $(notdir $(wildcard systemd/*.service systemd/*.socket systemd/*.timer))
DOCUMENTS = README.md CHANGELOG.md config/backstop.toml
EXAMPLES = config/grafana-dashboard.json config/prometheus-alerts.yml

help:
	@echo 'make demo     a real bounce through a real Postfix, on loopback, as a story'
	@echo 'make test     every test, with Postfix end to end'
	@echo 'make bench    speed and memory, beside do-nothing milters in C'
	@echo 'make build    the two programs, optimised'
	@echo 'make install  puts them under PREFIX ($(PREFIX)), with units, manual pages, completions and a configuration'
	@echo 'make uninstall  takes away what that put there, but for the configuration'
	@echo 'make deb      a Debian package, in target/package/; make rpm: one for RPM'
	@echo 'make test-machine  installs, loads, upgrades and purges that package on a whole Debian of its own (as root)'
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
	$(MAKE) install-built

# All that is put in place, here and by the packages (packaging/tree), from the programs in PROGRAMS.
install-built:
	install -D -m 755 '$(PROGRAMS)/backstopd' '$(DESTDIR)$(PREFIX)/sbin/backstopd'
	install -D -m 755 '$(PROGRAMS)/backstopctl' '$(DESTDIR)$(PREFIX)/bin/backstopctl'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	for unit in $(UNITS); do \
	    sed 's|/usr/sbin/backstopd|$(PREFIX)/sbin/backstopd|; s|/usr/bin/backstopctl|$(PREFIX)/bin/backstopctl|' \
	        "systemd/$$unit" >'$(DESTDIR)$(PREFIX)/lib/systemd/system/'"$$unit" || exit 1; \
	done
	install -D -m 644 systemd/backstop.sysusers '$(DESTDIR)$(PREFIX)/lib/sysusers.d/backstop.conf'
	install -D -m 644 systemd/backstop.tmpfiles '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/backstop.conf'
	install -d '$(share)/doc/backstop/examples' '$(share)/doc/backstop/docs'
	install -m 644 $(DOCUMENTS) '$(share)/doc/backstop'
	install -m 644 docs/*.md '$(share)/doc/backstop/docs'
	install -m 644 $(EXAMPLES) '$(share)/doc/backstop/examples'
	test -e '$(DESTDIR)$(SYSCONFDIR)/backstop/backstop.toml' || \
	    install -D -m 644 config/backstop.toml '$(DESTDIR)$(SYSCONFDIR)/backstop/backstop.toml'
	$(MAKE) install-docs

uninstall:
	rm -f $(UNITS:%='$(DESTDIR)$(PREFIX)/lib/systemd/system/%')
	rm -f '$(DESTDIR)$(PREFIX)/sbin/backstopd' '$(DESTDIR)$(PREFIX)/bin/backstopctl' \
	    '$(DESTDIR)$(PREFIX)/lib/sysusers.d/backstop.conf' '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/backstop.conf' \
	    '$(share)/bash-completion/completions/backstopctl' \
	    '$(share)/$(ZSH_COMPLETIONS)/_backstopctl' '$(share)/fish/vendor_completions.d/backstopctl.fish'
	rm -rf '$(share)/doc/backstop'
	for page in man/*.[0-9]; do rm -f "$(share)/man/man$${page##*.}/$${page##*/}"; done

# Apart from the programs, so that it can be tried without an optimised build.
install-docs:
	for page in man/*.[0-9]; do install -D -m 644 "$$page" "$(share)/man/man$${page##*.}/$${page##*/}" || exit; done
	install -d '$(share)/bash-completion/completions' '$(share)/$(ZSH_COMPLETIONS)' '$(share)/fish/vendor_completions.d'
	'$(BACKSTOPCTL)' completions bash >'$(share)/bash-completion/completions/backstopctl'
	'$(BACKSTOPCTL)' completions zsh >'$(share)/$(ZSH_COMPLETIONS)/_backstopctl'
	'$(BACKSTOPCTL)' completions fish >'$(share)/fish/vendor_completions.d/backstopctl.fish'

deb:
	scripts/package deb

rpm:
	scripts/package rpm

test-machine:
	scripts/test-machine

clean:
	$(CARGO) clean
