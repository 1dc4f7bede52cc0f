"""Grants and limits as people write them: one vocabulary for pipelines, policies, manifests and command lines."""
