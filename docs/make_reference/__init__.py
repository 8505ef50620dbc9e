"""Write the parts of the documentation that are made from the code and from the sample corpus.

Run ``python -m docs.make_reference`` after a change; ``test_docs.py`` fails until it was run.
``docs/reference.md`` is written whole. In other files only the lines between
``<!-- made: NAME -->`` and ``<!-- end -->`` are replaced.
"""
