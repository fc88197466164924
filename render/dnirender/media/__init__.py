"""What reading and writing media share."""
