"""Devices, processes and SIGTERM."""
