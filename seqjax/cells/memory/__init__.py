"""Cells with a memory that they read and write: NTM and DNC."""
