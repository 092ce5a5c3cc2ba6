"""Content-addressed objects in a folder or on S3; a reader never sees half an object."""
