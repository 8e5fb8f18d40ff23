"""NNCF: quantizers placed by a configuration, learned in training, exported to real integers."""
