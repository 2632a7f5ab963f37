"""Engines that run as processes of ours: started, supervised, restarted, and never left behind."""
