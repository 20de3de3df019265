"""What is installed: the wheel, the bare install, the editable one, and what imports cost."""
