"""Problems from web sites, only where params.yaml says that this is permitted, slowly, and nothing twice.

leetcode.py   which questions, and what is asked about each
site.py       one question at a time to the site: waits, retries, what its answers mean
responses.py  the answers as they came, on disk
question.py   an answer about a question -> a Problem, or why it gives none
statement.py  HTML -> text, and the examples in it
sample.py     problems of our own in the same form, for trying it out
folder.py     what comes of a source, as files
"""
