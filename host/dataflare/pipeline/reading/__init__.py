"""Reading files: one module a format, over bytes that are decompressed, decoded and watched for changes."""
