"""Devices, processes and stopping."""
