"""Reports on what was learned: pictures, one HTML page, a summary for JSON, tables for a terminal.

Import the part you need: `rowtune.report.pictures`, `.page`, `.summary` or `.console`. Nothing is
imported here, so that printing a table does not load the library that draws.
"""
