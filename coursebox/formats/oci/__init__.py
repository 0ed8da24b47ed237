"""The container image: layers, config, manifest and archive of the OCI."""
