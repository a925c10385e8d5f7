//! Signals: SIGHUP reloads, SIGTERM and SIGINT drain.
