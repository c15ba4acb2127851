"""Klaviyo's API: the only room that knows HTTP."""
