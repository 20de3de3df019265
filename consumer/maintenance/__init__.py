"""Commands that audit, repair, replay and import, outside of any worker."""
