"""A provisioned tree → an OCI image whose layers stay equal while their part of the tree does."""
