"""What things cost, measured on this machine and compared within one run."""
