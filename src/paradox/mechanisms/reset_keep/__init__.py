"""Resetting and keeping what training changed in some blocks."""
