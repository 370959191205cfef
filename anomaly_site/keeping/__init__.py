"""What keeps an installation: backup and restore, deleting what is old, and looking for what is wrong."""
