"""`rewake replay`: a history, fed to the code of today."""
