"""Sources that lie elsewhere: objects of stores, tables of lakes, and interfaces of the web."""
