"""The tab Compress."""
