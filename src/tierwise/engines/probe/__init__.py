"""Probes what a running server does with the request fields that Tierwise relies on."""
