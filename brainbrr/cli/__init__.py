"""Commands and how they look; nothing else prints."""
