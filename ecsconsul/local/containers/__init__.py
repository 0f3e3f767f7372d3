"""The lab in real containers: its machines, images and tasks on the Docker engine of this machine."""
