"""Describe a finished data set on one HTML page of figures and tables.

report      the public call: `write_report` reads, compares, draws and publishes
facts       what the data set records about itself: manifest, curve, rejected lines
data        its embedding rows with their accesses, and a subset of its train samples
comparison  every rule on these samples, budget by budget
style       colours, number formats, and a figure as SVG and PNG
figures     the seven figures
page        the page's numbers and tables, for `page.html.jinja` and `page.css`

Only `style`, `figures` and `page` need matplotlib and jinja2; `report` imports them when called.
"""
