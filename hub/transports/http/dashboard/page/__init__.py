"""The dashboard's page: plain ES modules and CSS, served unchanged."""
