"""The preset schemas, one YAML file each."""
