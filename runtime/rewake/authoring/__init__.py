"""The functions that users import: in a run they ask its execution, else they are plain Python."""
