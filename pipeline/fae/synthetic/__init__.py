"""Write synthetic click logs with the shape, the skew and the dependence of the public ones.

log            the public call: `write_log` draws chunks and writes them
criteo         rows like Criteo's: 13 integers and 26 categories
avazu          rows like Avazu's: users, campaigns, sites and apps
criteo_tables  shares measured on the public Criteo log
avazu_tables   shares measured on the public Avazu log
distributions  skewed distributions of ids, dependence between columns, and hashes of ids
label          what ids add to the log-odds of a click, and the best AUC possible
"""
