"""The LLM Registry Hub: one place that knows a fleet of inference servers.

The rooms, from top to bottom. A room imports only those below it, which
`make lint` checks:

    cli         the `llm-hub` command
    server      one hub process: assemble, start, reload, stop; logs, tracing
    transports  bytes only: gRPC, HTTP with the dashboard, WebSocket, the sidecar session
    service     the one way in: dispatcher, access, durable changes, RPC handlers, metrics
    cluster     observed facts beyond one process: published, restored at a start
    sidecar     the reference sidecar
    client      the Python client of a hub
    probes      asks inference servers for their state
    registry    pure state: health, selection, history, listings
    stores      durable engines: SQLite, etcd
    contract    the wire contract: RPC table, errors, validation, the JSON dialect
    base        shared basics: addresses, clock, tasks, settings, version

docs/architecture.md has a row for each folder below these.
"""
