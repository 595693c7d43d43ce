"""Describe a finished data set on one HTML page of figures and tables.

report          the public call: `write_report` reads, compares, draws and publishes
facts           what the data set records about itself: manifest, curve, drift, rejected lines
data            its embedding rows with their accesses, and a subset of its train samples
comparison      every rule on these samples, budget by budget
recommendation  the budget to take, and why
training        what runs trained on the data set reached
style           colours and formats of numbers and text
charts          charts in Vega-Lite
vega            pictures of charts, and the library that draws live ones
figures         what each figure about the data set shows
run_figures     the figures about runs
tables          the tables of the page
page            the page itself, by `page.html.jinja`, `page.css` and `page.js`

Only `vega` and `page` need vl-convert and jinja2; `report` imports both when called.
"""
