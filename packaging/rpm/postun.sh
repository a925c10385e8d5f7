systemctl daemon-reload >/dev/null 2>&1 || :
# An upgrade: the sockets stay, only the daemon is started anew, if the new one can use the configuration.
if [ "$1" -ge 1 ] && /usr/sbin/backstopd --check-config; then
    systemctl try-restart backstopd.service >/dev/null 2>&1 || :
fi
