"""What users import: it speaks to the execution that is current; without one it is plain Python."""
