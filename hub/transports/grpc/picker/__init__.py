"""The endpoint picker: Envoy's external processing, answered from the registry."""
