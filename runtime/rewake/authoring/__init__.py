"""What users import: it speaks to whichever execution is current, or is plain Python."""
