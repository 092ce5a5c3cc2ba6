"""The ground seen from Python: job templates, preflight, sweeping and draining of a Kubernetes cluster."""
