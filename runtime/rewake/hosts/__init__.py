"""Hosts: what turns a process, or a platform's event, into the layers above."""
