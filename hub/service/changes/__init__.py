"""Durable changes: endpoints, aliases, the audit trail."""
