"""Prefect flows: compose, schedule, retry, show. They name stages and never touch data."""
