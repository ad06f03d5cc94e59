"""Forecasts over real series, beside naive ones."""
