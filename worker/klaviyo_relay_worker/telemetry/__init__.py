"""Telemetry: two canonical events; logs, metrics and traces are listeners of them.

`event` is what is told, and to whom. `log` writes a line for each event; `log_form` says how all of
the process's lines look. `counters` are Prometheus's, `spans` OpenTelemetry's.
"""
