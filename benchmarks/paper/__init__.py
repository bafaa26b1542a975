"""Published experiments run again, one module and one experiment file (YAML) each; `python -m benchmarks.paper` lists them."""
