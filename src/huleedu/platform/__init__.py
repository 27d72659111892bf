"""What every service stands on: database, log, backplane, blobs, HTTP, time. It knows nothing of essays."""
