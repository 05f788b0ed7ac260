"""Shared types and the ways in and out: vectors, records, errors, configs, artefacts, console."""
