"""The preset schemas, one YAML file each; `cli/options.py` lists their names in the help."""
