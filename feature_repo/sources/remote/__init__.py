"""Sources on other machines, such as objects in stores."""
