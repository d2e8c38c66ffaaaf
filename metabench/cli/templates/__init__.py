"""What `metabench new` writes: files that work as they stand, under the name my-plugin."""
