"""Clusters: local workers, joining a remote one, GPUs, TLS."""
