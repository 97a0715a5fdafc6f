"""Values as data: codecs, digests, signed pickles, failures, and lines of log."""
