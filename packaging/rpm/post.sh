systemd-sysusers backstop.conf || :
systemd-tmpfiles --create backstop.conf || :
systemctl daemon-reload >/dev/null 2>&1 || :
if [ "$1" -eq 1 ]; then
    # The distribution's presets decide what is enabled; nothing is started.
    systemctl --no-reload preset @SOCKETS@ @TIMERS@ backstopd.service >/dev/null 2>&1 || :
fi
