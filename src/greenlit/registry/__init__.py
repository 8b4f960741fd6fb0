"""Trained models as versions of a registered model, each with the lineage that made it."""
