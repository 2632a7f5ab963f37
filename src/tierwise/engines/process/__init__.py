"""Engines as child processes: started, supervised, restarted, and never orphaned."""
