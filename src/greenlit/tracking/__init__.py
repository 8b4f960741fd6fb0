"""What a stage tells about itself, on its way to the trackers.

A stage writes its parameters, figures and small files into a spool (`spool`, `runs`), which costs it nothing and needs
nobody. A process of its own (`greenlit.trackers.delivery`) brings what lies there to the trackers that
`tracking.report_to` names: beside a training while it runs, and at the end of everything. A tracker that does not
answer costs a warning, never a stage; what it missed waits for the next delivery.
"""
