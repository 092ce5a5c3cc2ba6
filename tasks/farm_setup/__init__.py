"""What `farm setup` makes in Prefect, from files under version control."""
