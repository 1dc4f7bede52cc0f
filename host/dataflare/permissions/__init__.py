"""The written form of grants and limits: one vocabulary for pipelines, policies, manifests and command lines."""
