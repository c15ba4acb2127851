"""The dashboard: one small page that shows what is where, and lets a person act on it.

Rendered on the server; the script in `static/` only fetches the changing part again. Needs the
extra `[dashboard]`. Nothing here is imported by a worker.
"""
