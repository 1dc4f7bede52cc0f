"""Manifests (what plugins ask for), policies (what operators allow), signatures and certificates, roles, audit log."""
