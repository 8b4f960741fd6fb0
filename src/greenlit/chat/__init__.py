"""`greenlit chat`: type a problem, watch a model write programs for it, see them run, keep it as your own."""
